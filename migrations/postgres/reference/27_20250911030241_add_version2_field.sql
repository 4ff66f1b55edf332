ALTER TABLE "TerminalAuthRequest"
    ADD COLUMN "supportsV2" BOOLEAN NOT NULL DEFAULT false;
