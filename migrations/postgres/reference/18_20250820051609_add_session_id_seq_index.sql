CREATE INDEX "SessionMessage_sessionId_seq_idx" ON "SessionMessage" ("sessionId", "seq");
