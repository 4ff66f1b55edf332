ALTER TABLE "SessionMessage"
    ADD COLUMN "localId" TEXT;
CREATE UNIQUE INDEX "SessionMessage_sessionId_localId_key" ON "SessionMessage" ("sessionId", "localId");
