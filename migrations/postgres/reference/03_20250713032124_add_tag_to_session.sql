ALTER TABLE "Session"
    ADD COLUMN "tag" TEXT NOT NULL;
CREATE UNIQUE INDEX "Session_accountId_tag_key" ON "Session" ("accountId", "tag");
