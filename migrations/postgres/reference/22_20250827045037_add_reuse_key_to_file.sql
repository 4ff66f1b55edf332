ALTER TABLE "UploadedFile"
    ADD COLUMN "reuseKey" TEXT;
