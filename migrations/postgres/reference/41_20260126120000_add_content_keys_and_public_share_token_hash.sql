ALTER TABLE "Account"
    ADD COLUMN "contentPublicKey" BYTEA,
    ADD COLUMN "contentPublicKeySig" BYTEA;
-- Only hashes of tokens are kept from here on. Links made before end here, as in the reference server: nobody could open
-- them with a hash that was never computed.
DELETE FROM "PublicShareAccessLog";
DELETE FROM "PublicShareBlockedUser";
DELETE FROM "PublicSessionShare";
ALTER TABLE "PublicSessionShare"
    DROP COLUMN "token",
    ADD COLUMN "tokenHash" BYTEA NOT NULL;
CREATE UNIQUE INDEX "PublicSessionShare_tokenHash_key" ON "PublicSessionShare" ("tokenHash");
CREATE INDEX "PublicSessionShare_tokenHash_idx" ON "PublicSessionShare" ("tokenHash");
