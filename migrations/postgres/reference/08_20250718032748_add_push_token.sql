CREATE TABLE "AccountPushToken" (
    "id" TEXT NOT NULL,
    "accountId" TEXT NOT NULL,
    "token" TEXT NOT NULL,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    CONSTRAINT "AccountPushToken_pkey" PRIMARY KEY ("id")
);
CREATE UNIQUE INDEX "AccountPushToken_accountId_token_key" ON "AccountPushToken" ("accountId", "token");
ALTER TABLE "AccountPushToken" ADD CONSTRAINT "AccountPushToken_accountId_fkey" FOREIGN KEY ("accountId")
    REFERENCES "Account" ("id") ON DELETE RESTRICT ON UPDATE CASCADE;
