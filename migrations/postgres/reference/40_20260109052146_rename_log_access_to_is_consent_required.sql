-- The values are not carried over, as in the reference server.
ALTER TABLE "PublicSessionShare"
    DROP COLUMN "logAccess",
    ADD COLUMN "isConsentRequired" BOOLEAN NOT NULL DEFAULT false;
