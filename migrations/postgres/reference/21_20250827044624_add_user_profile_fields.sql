ALTER TABLE "Account"
    ADD COLUMN "avatar" JSONB,
    ADD COLUMN "firstName" TEXT,
    ADD COLUMN "lastName" TEXT;
CREATE TABLE "UploadedFile" (
    "id" TEXT NOT NULL,
    "accountId" TEXT NOT NULL,
    "path" TEXT NOT NULL,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    CONSTRAINT "UploadedFile_pkey" PRIMARY KEY ("id")
);
CREATE UNIQUE INDEX "UploadedFile_accountId_path_key" ON "UploadedFile" ("accountId", "path");
CREATE INDEX "UploadedFile_accountId_idx" ON "UploadedFile" ("accountId");
ALTER TABLE "UploadedFile" ADD CONSTRAINT "UploadedFile_accountId_fkey" FOREIGN KEY ("accountId")
    REFERENCES "Account" ("id") ON DELETE RESTRICT ON UPDATE CASCADE;
