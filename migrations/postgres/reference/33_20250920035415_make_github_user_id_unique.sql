CREATE UNIQUE INDEX "Account_githubUserId_key" ON "Account" ("githubUserId");
