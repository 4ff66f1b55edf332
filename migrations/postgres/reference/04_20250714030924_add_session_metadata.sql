ALTER TABLE "Session"
    ADD COLUMN "metadata" TEXT NOT NULL;
