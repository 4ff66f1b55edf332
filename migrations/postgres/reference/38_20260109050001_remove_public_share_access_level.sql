ALTER TABLE "PublicSessionShare" DROP COLUMN "accessLevel";
