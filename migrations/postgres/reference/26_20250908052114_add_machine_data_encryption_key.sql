ALTER TABLE "Machine"
    ADD COLUMN "dataEncryptionKey" BYTEA;
