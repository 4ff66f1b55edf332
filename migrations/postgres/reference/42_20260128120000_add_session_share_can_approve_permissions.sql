ALTER TABLE "SessionShare"
    ADD COLUMN "canApprovePermissions" BOOLEAN NOT NULL DEFAULT false;
