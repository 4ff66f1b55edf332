ALTER TABLE "Session"
    ADD COLUMN "dataEncryptionKey" BYTEA;
