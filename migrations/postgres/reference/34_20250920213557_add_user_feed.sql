ALTER TABLE "Account"
    ADD COLUMN "feedSeq" BIGINT NOT NULL DEFAULT 0;
CREATE TABLE "UserFeedItem" (
    "id" TEXT NOT NULL,
    "userId" TEXT NOT NULL,
    "counter" BIGINT NOT NULL,
    "repeatKey" TEXT,
    "body" JSONB NOT NULL,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    CONSTRAINT "UserFeedItem_pkey" PRIMARY KEY ("id")
);
CREATE UNIQUE INDEX "UserFeedItem_userId_counter_key" ON "UserFeedItem" ("userId", "counter");
CREATE UNIQUE INDEX "UserFeedItem_userId_repeatKey_key" ON "UserFeedItem" ("userId", "repeatKey");
CREATE INDEX "UserFeedItem_userId_counter_idx" ON "UserFeedItem" ("userId", "counter" DESC);
ALTER TABLE "UserFeedItem" ADD CONSTRAINT "UserFeedItem_userId_fkey" FOREIGN KEY ("userId")
    REFERENCES "Account" ("id") ON DELETE CASCADE ON UPDATE CASCADE;
