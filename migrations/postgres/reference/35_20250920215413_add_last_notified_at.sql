ALTER TABLE "UserRelationship"
    ADD COLUMN "lastNotifiedAt" TIMESTAMP(3);
