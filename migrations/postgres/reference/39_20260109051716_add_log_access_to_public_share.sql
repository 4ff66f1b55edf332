ALTER TABLE "PublicSessionShare" ADD COLUMN "logAccess" BOOLEAN NOT NULL DEFAULT false;
