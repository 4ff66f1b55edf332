ALTER TABLE "Account"
    ADD COLUMN "settings" TEXT;
