-- The schema of the reference server, with its exact names: both servers work on one database.
-- It is the state after the 44 migrations that the reference tooling knows.

CREATE TYPE "RelationshipStatus" AS ENUM ('none', 'requested', 'pending', 'friend', 'rejected');
CREATE TYPE "ShareAccessLevel" AS ENUM ('view', 'edit', 'admin');

CREATE TABLE "Account" (
    "id" TEXT NOT NULL,
    "publicKey" TEXT NOT NULL,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    "seq" INTEGER NOT NULL DEFAULT 0,
    "settings" TEXT,
    "settingsVersion" INTEGER NOT NULL DEFAULT 0,
    "githubUserId" TEXT,
    "avatar" JSONB,
    "firstName" TEXT,
    "lastName" TEXT,
    "username" TEXT,
    "feedSeq" BIGINT NOT NULL DEFAULT 0,
    "contentPublicKey" BYTEA,
    "contentPublicKeySig" BYTEA,
    "changesFloor" INTEGER NOT NULL DEFAULT 0,
    CONSTRAINT "Account_pkey" PRIMARY KEY ("id")
);
CREATE UNIQUE INDEX "Account_publicKey_key" ON "Account" ("publicKey");
CREATE UNIQUE INDEX "Account_githubUserId_key" ON "Account" ("githubUserId");
CREATE UNIQUE INDEX "Account_username_key" ON "Account" ("username");

CREATE TABLE "AccountChange" (
    "accountId" TEXT NOT NULL,
    "kind" TEXT NOT NULL,
    "entityId" TEXT NOT NULL,
    "cursor" INTEGER NOT NULL,
    "changedAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "hint" JSONB,
    CONSTRAINT "AccountChange_pkey" PRIMARY KEY ("accountId", "kind", "entityId")
);
CREATE INDEX "AccountChange_accountId_cursor_idx" ON "AccountChange" ("accountId", "cursor");

CREATE TABLE "TerminalAuthRequest" (
    "id" TEXT NOT NULL,
    "publicKey" TEXT NOT NULL,
    "response" TEXT,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    "responseAccountId" TEXT,
    "supportsV2" BOOLEAN NOT NULL DEFAULT false,
    CONSTRAINT "TerminalAuthRequest_pkey" PRIMARY KEY ("id")
);
CREATE UNIQUE INDEX "TerminalAuthRequest_publicKey_key" ON "TerminalAuthRequest" ("publicKey");

CREATE TABLE "AccountAuthRequest" (
    "id" TEXT NOT NULL,
    "publicKey" TEXT NOT NULL,
    "response" TEXT,
    "responseAccountId" TEXT,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    CONSTRAINT "AccountAuthRequest_pkey" PRIMARY KEY ("id")
);
CREATE UNIQUE INDEX "AccountAuthRequest_publicKey_key" ON "AccountAuthRequest" ("publicKey");

CREATE TABLE "AccountPushToken" (
    "id" TEXT NOT NULL,
    "accountId" TEXT NOT NULL,
    "token" TEXT NOT NULL,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    CONSTRAINT "AccountPushToken_pkey" PRIMARY KEY ("id")
);
CREATE UNIQUE INDEX "AccountPushToken_accountId_token_key" ON "AccountPushToken" ("accountId", "token");

CREATE TABLE "Session" (
    "id" TEXT NOT NULL,
    "accountId" TEXT NOT NULL,
    "seq" INTEGER NOT NULL DEFAULT 0,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    "tag" TEXT NOT NULL,
    "metadata" TEXT NOT NULL,
    "active" BOOLEAN NOT NULL DEFAULT true,
    "lastActiveAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "agentState" TEXT,
    "agentStateVersion" INTEGER NOT NULL DEFAULT 0,
    "metadataVersion" INTEGER NOT NULL DEFAULT 0,
    "dataEncryptionKey" BYTEA,
    CONSTRAINT "Session_pkey" PRIMARY KEY ("id")
);
CREATE UNIQUE INDEX "Session_accountId_tag_key" ON "Session" ("accountId", "tag");
CREATE INDEX "Session_accountId_updatedAt_idx" ON "Session" ("accountId", "updatedAt" DESC);

CREATE TABLE "SessionMessage" (
    "id" TEXT NOT NULL,
    "sessionId" TEXT NOT NULL,
    "seq" INTEGER NOT NULL,
    "content" JSONB NOT NULL,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    "localId" TEXT,
    CONSTRAINT "SessionMessage_pkey" PRIMARY KEY ("id")
);
CREATE UNIQUE INDEX "SessionMessage_sessionId_localId_key" ON "SessionMessage" ("sessionId", "localId");
CREATE INDEX "SessionMessage_sessionId_seq_idx" ON "SessionMessage" ("sessionId", "seq");

CREATE TABLE "GithubUser" (
    "id" TEXT NOT NULL,
    "profile" JSONB NOT NULL,
    "token" BYTEA,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    CONSTRAINT "GithubUser_pkey" PRIMARY KEY ("id")
);

CREATE TABLE "GithubOrganization" (
    "id" TEXT NOT NULL,
    "profile" JSONB NOT NULL,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    CONSTRAINT "GithubOrganization_pkey" PRIMARY KEY ("id")
);

CREATE TABLE "GlobalLock" (
    "key" TEXT NOT NULL,
    "value" TEXT NOT NULL,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    "expiresAt" TIMESTAMP(3) NOT NULL,
    CONSTRAINT "GlobalLock_pkey" PRIMARY KEY ("key")
);

CREATE TABLE "RepeatKey" (
    "key" TEXT NOT NULL,
    "value" TEXT NOT NULL,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "expiresAt" TIMESTAMP(3) NOT NULL,
    CONSTRAINT "RepeatKey_pkey" PRIMARY KEY ("key")
);

CREATE TABLE "SimpleCache" (
    "key" TEXT NOT NULL,
    "value" TEXT NOT NULL,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    CONSTRAINT "SimpleCache_pkey" PRIMARY KEY ("key")
);

CREATE TABLE "UsageReport" (
    "id" TEXT NOT NULL,
    "key" TEXT NOT NULL,
    "accountId" TEXT NOT NULL,
    "sessionId" TEXT,
    "data" JSONB NOT NULL,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    CONSTRAINT "UsageReport_pkey" PRIMARY KEY ("id")
);
CREATE UNIQUE INDEX "UsageReport_accountId_sessionId_key_key" ON "UsageReport" ("accountId", "sessionId", "key");
CREATE INDEX "UsageReport_accountId_idx" ON "UsageReport" ("accountId");
CREATE INDEX "UsageReport_sessionId_idx" ON "UsageReport" ("sessionId");

CREATE TABLE "Machine" (
    "id" TEXT NOT NULL,
    "accountId" TEXT NOT NULL,
    "metadata" TEXT NOT NULL,
    "metadataVersion" INTEGER NOT NULL DEFAULT 0,
    "seq" INTEGER NOT NULL DEFAULT 0,
    "active" BOOLEAN NOT NULL DEFAULT true,
    "lastActiveAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    "daemonState" TEXT,
    "daemonStateVersion" INTEGER NOT NULL DEFAULT 0,
    "dataEncryptionKey" BYTEA,
    CONSTRAINT "Machine_pkey" PRIMARY KEY ("id")
);
CREATE UNIQUE INDEX "Machine_accountId_id_key" ON "Machine" ("accountId", "id");
CREATE INDEX "Machine_accountId_idx" ON "Machine" ("accountId");

CREATE TABLE "UploadedFile" (
    "id" TEXT NOT NULL,
    "accountId" TEXT NOT NULL,
    "path" TEXT NOT NULL,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    "reuseKey" TEXT,
    "height" INTEGER,
    "thumbhash" TEXT,
    "width" INTEGER,
    CONSTRAINT "UploadedFile_pkey" PRIMARY KEY ("id")
);
CREATE UNIQUE INDEX "UploadedFile_accountId_path_key" ON "UploadedFile" ("accountId", "path");
CREATE INDEX "UploadedFile_accountId_idx" ON "UploadedFile" ("accountId");

CREATE TABLE "ServiceAccountToken" (
    "id" TEXT NOT NULL,
    "accountId" TEXT NOT NULL,
    "vendor" TEXT NOT NULL,
    "token" BYTEA NOT NULL,
    "metadata" JSONB,
    "lastUsedAt" TIMESTAMP(3),
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    CONSTRAINT "ServiceAccountToken_pkey" PRIMARY KEY ("id")
);
CREATE UNIQUE INDEX "ServiceAccountToken_accountId_vendor_key" ON "ServiceAccountToken" ("accountId", "vendor");
CREATE INDEX "ServiceAccountToken_accountId_idx" ON "ServiceAccountToken" ("accountId");

CREATE TABLE "Artifact" (
    "id" TEXT NOT NULL,
    "accountId" TEXT NOT NULL,
    "header" BYTEA NOT NULL,
    "headerVersion" INTEGER NOT NULL DEFAULT 0,
    "body" BYTEA NOT NULL,
    "bodyVersion" INTEGER NOT NULL DEFAULT 0,
    "dataEncryptionKey" BYTEA NOT NULL,
    "seq" INTEGER NOT NULL DEFAULT 0,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    CONSTRAINT "Artifact_pkey" PRIMARY KEY ("id")
);
CREATE INDEX "Artifact_accountId_idx" ON "Artifact" ("accountId");
CREATE INDEX "Artifact_accountId_updatedAt_idx" ON "Artifact" ("accountId", "updatedAt" DESC);

CREATE TABLE "AccessKey" (
    "id" TEXT NOT NULL,
    "accountId" TEXT NOT NULL,
    "machineId" TEXT NOT NULL,
    "sessionId" TEXT NOT NULL,
    "data" TEXT NOT NULL,
    "dataVersion" INTEGER NOT NULL DEFAULT 0,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    CONSTRAINT "AccessKey_pkey" PRIMARY KEY ("id")
);
CREATE UNIQUE INDEX "AccessKey_accountId_machineId_sessionId_key" ON "AccessKey" ("accountId", "machineId", "sessionId");
CREATE INDEX "AccessKey_accountId_idx" ON "AccessKey" ("accountId");
CREATE INDEX "AccessKey_sessionId_idx" ON "AccessKey" ("sessionId");
CREATE INDEX "AccessKey_machineId_idx" ON "AccessKey" ("machineId");

CREATE TABLE "UserRelationship" (
    "fromUserId" TEXT NOT NULL,
    "toUserId" TEXT NOT NULL,
    "status" "RelationshipStatus" NOT NULL DEFAULT 'pending',
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    "acceptedAt" TIMESTAMP(3),
    "lastNotifiedAt" TIMESTAMP(3),
    CONSTRAINT "UserRelationship_pkey" PRIMARY KEY ("fromUserId", "toUserId")
);
CREATE INDEX "UserRelationship_toUserId_status_idx" ON "UserRelationship" ("toUserId", "status");
CREATE INDEX "UserRelationship_fromUserId_status_idx" ON "UserRelationship" ("fromUserId", "status");

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

CREATE TABLE "UserKVStore" (
    "id" TEXT NOT NULL,
    "accountId" TEXT NOT NULL,
    "key" TEXT NOT NULL,
    "value" BYTEA,
    "version" INTEGER NOT NULL DEFAULT 0,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    CONSTRAINT "UserKVStore_pkey" PRIMARY KEY ("id")
);
CREATE UNIQUE INDEX "UserKVStore_accountId_key_key" ON "UserKVStore" ("accountId", "key");
CREATE INDEX "UserKVStore_accountId_idx" ON "UserKVStore" ("accountId");

CREATE TABLE "SessionShare" (
    "id" TEXT NOT NULL,
    "sessionId" TEXT NOT NULL,
    "sharedByUserId" TEXT NOT NULL,
    "sharedWithUserId" TEXT NOT NULL,
    "accessLevel" "ShareAccessLevel" NOT NULL DEFAULT 'view',
    "encryptedDataKey" BYTEA NOT NULL,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    "canApprovePermissions" BOOLEAN NOT NULL DEFAULT false,
    CONSTRAINT "SessionShare_pkey" PRIMARY KEY ("id")
);
CREATE UNIQUE INDEX "SessionShare_sessionId_sharedWithUserId_key" ON "SessionShare" ("sessionId", "sharedWithUserId");
CREATE INDEX "SessionShare_sharedWithUserId_idx" ON "SessionShare" ("sharedWithUserId");
CREATE INDEX "SessionShare_sharedByUserId_idx" ON "SessionShare" ("sharedByUserId");
CREATE INDEX "SessionShare_sessionId_idx" ON "SessionShare" ("sessionId");

CREATE TABLE "SessionShareAccessLog" (
    "id" TEXT NOT NULL,
    "sessionShareId" TEXT NOT NULL,
    "userId" TEXT NOT NULL,
    "accessedAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "ipAddress" TEXT,
    "userAgent" TEXT,
    CONSTRAINT "SessionShareAccessLog_pkey" PRIMARY KEY ("id")
);
CREATE INDEX "SessionShareAccessLog_sessionShareId_idx" ON "SessionShareAccessLog" ("sessionShareId");
CREATE INDEX "SessionShareAccessLog_userId_idx" ON "SessionShareAccessLog" ("userId");
CREATE INDEX "SessionShareAccessLog_accessedAt_idx" ON "SessionShareAccessLog" ("accessedAt");

CREATE TABLE "PublicSessionShare" (
    "id" TEXT NOT NULL,
    "sessionId" TEXT NOT NULL,
    "createdByUserId" TEXT NOT NULL,
    "encryptedDataKey" BYTEA NOT NULL,
    "expiresAt" TIMESTAMP(3),
    "maxUses" INTEGER,
    "useCount" INTEGER NOT NULL DEFAULT 0,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    "isConsentRequired" BOOLEAN NOT NULL DEFAULT false,
    "tokenHash" BYTEA NOT NULL,
    CONSTRAINT "PublicSessionShare_pkey" PRIMARY KEY ("id")
);
CREATE UNIQUE INDEX "PublicSessionShare_sessionId_key" ON "PublicSessionShare" ("sessionId");
CREATE UNIQUE INDEX "PublicSessionShare_tokenHash_key" ON "PublicSessionShare" ("tokenHash");
CREATE INDEX "PublicSessionShare_sessionId_idx" ON "PublicSessionShare" ("sessionId");
CREATE INDEX "PublicSessionShare_tokenHash_idx" ON "PublicSessionShare" ("tokenHash");

CREATE TABLE "PublicShareAccessLog" (
    "id" TEXT NOT NULL,
    "publicShareId" TEXT NOT NULL,
    "userId" TEXT,
    "accessedAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "ipAddress" TEXT,
    "userAgent" TEXT,
    CONSTRAINT "PublicShareAccessLog_pkey" PRIMARY KEY ("id")
);
CREATE INDEX "PublicShareAccessLog_publicShareId_idx" ON "PublicShareAccessLog" ("publicShareId");
CREATE INDEX "PublicShareAccessLog_userId_idx" ON "PublicShareAccessLog" ("userId");
CREATE INDEX "PublicShareAccessLog_accessedAt_idx" ON "PublicShareAccessLog" ("accessedAt");

CREATE TABLE "PublicShareBlockedUser" (
    "id" TEXT NOT NULL,
    "publicShareId" TEXT NOT NULL,
    "userId" TEXT NOT NULL,
    "blockedAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "reason" TEXT,
    CONSTRAINT "PublicShareBlockedUser_pkey" PRIMARY KEY ("id")
);
CREATE UNIQUE INDEX "PublicShareBlockedUser_publicShareId_userId_key" ON "PublicShareBlockedUser" ("publicShareId", "userId");
CREATE INDEX "PublicShareBlockedUser_publicShareId_idx" ON "PublicShareBlockedUser" ("publicShareId");
CREATE INDEX "PublicShareBlockedUser_userId_idx" ON "PublicShareBlockedUser" ("userId");

ALTER TABLE "Account" ADD CONSTRAINT "Account_githubUserId_fkey" FOREIGN KEY ("githubUserId")
    REFERENCES "GithubUser" ("id") ON DELETE SET NULL ON UPDATE CASCADE;
ALTER TABLE "AccountChange" ADD CONSTRAINT "AccountChange_accountId_fkey" FOREIGN KEY ("accountId")
    REFERENCES "Account" ("id") ON DELETE CASCADE ON UPDATE CASCADE;
ALTER TABLE "TerminalAuthRequest" ADD CONSTRAINT "TerminalAuthRequest_responseAccountId_fkey" FOREIGN KEY ("responseAccountId")
    REFERENCES "Account" ("id") ON DELETE SET NULL ON UPDATE CASCADE;
ALTER TABLE "AccountAuthRequest" ADD CONSTRAINT "AccountAuthRequest_responseAccountId_fkey" FOREIGN KEY ("responseAccountId")
    REFERENCES "Account" ("id") ON DELETE SET NULL ON UPDATE CASCADE;
ALTER TABLE "AccountPushToken" ADD CONSTRAINT "AccountPushToken_accountId_fkey" FOREIGN KEY ("accountId")
    REFERENCES "Account" ("id") ON DELETE RESTRICT ON UPDATE CASCADE;
ALTER TABLE "Session" ADD CONSTRAINT "Session_accountId_fkey" FOREIGN KEY ("accountId")
    REFERENCES "Account" ("id") ON DELETE RESTRICT ON UPDATE CASCADE;
ALTER TABLE "SessionMessage" ADD CONSTRAINT "SessionMessage_sessionId_fkey" FOREIGN KEY ("sessionId")
    REFERENCES "Session" ("id") ON DELETE RESTRICT ON UPDATE CASCADE;
ALTER TABLE "UsageReport" ADD CONSTRAINT "UsageReport_accountId_fkey" FOREIGN KEY ("accountId")
    REFERENCES "Account" ("id") ON DELETE RESTRICT ON UPDATE CASCADE;
ALTER TABLE "UsageReport" ADD CONSTRAINT "UsageReport_sessionId_fkey" FOREIGN KEY ("sessionId")
    REFERENCES "Session" ("id") ON DELETE SET NULL ON UPDATE CASCADE;
ALTER TABLE "Machine" ADD CONSTRAINT "Machine_accountId_fkey" FOREIGN KEY ("accountId")
    REFERENCES "Account" ("id") ON DELETE RESTRICT ON UPDATE CASCADE;
ALTER TABLE "UploadedFile" ADD CONSTRAINT "UploadedFile_accountId_fkey" FOREIGN KEY ("accountId")
    REFERENCES "Account" ("id") ON DELETE RESTRICT ON UPDATE CASCADE;
ALTER TABLE "ServiceAccountToken" ADD CONSTRAINT "ServiceAccountToken_accountId_fkey" FOREIGN KEY ("accountId")
    REFERENCES "Account" ("id") ON DELETE CASCADE ON UPDATE CASCADE;
ALTER TABLE "Artifact" ADD CONSTRAINT "Artifact_accountId_fkey" FOREIGN KEY ("accountId")
    REFERENCES "Account" ("id") ON DELETE RESTRICT ON UPDATE CASCADE;
ALTER TABLE "AccessKey" ADD CONSTRAINT "AccessKey_accountId_fkey" FOREIGN KEY ("accountId")
    REFERENCES "Account" ("id") ON DELETE RESTRICT ON UPDATE CASCADE;
ALTER TABLE "AccessKey" ADD CONSTRAINT "AccessKey_accountId_machineId_fkey" FOREIGN KEY ("accountId", "machineId")
    REFERENCES "Machine" ("accountId", "id") ON DELETE RESTRICT ON UPDATE CASCADE;
ALTER TABLE "AccessKey" ADD CONSTRAINT "AccessKey_sessionId_fkey" FOREIGN KEY ("sessionId")
    REFERENCES "Session" ("id") ON DELETE RESTRICT ON UPDATE CASCADE;
ALTER TABLE "UserRelationship" ADD CONSTRAINT "UserRelationship_fromUserId_fkey" FOREIGN KEY ("fromUserId")
    REFERENCES "Account" ("id") ON DELETE CASCADE ON UPDATE CASCADE;
ALTER TABLE "UserRelationship" ADD CONSTRAINT "UserRelationship_toUserId_fkey" FOREIGN KEY ("toUserId")
    REFERENCES "Account" ("id") ON DELETE CASCADE ON UPDATE CASCADE;
ALTER TABLE "UserFeedItem" ADD CONSTRAINT "UserFeedItem_userId_fkey" FOREIGN KEY ("userId")
    REFERENCES "Account" ("id") ON DELETE CASCADE ON UPDATE CASCADE;
ALTER TABLE "UserKVStore" ADD CONSTRAINT "UserKVStore_accountId_fkey" FOREIGN KEY ("accountId")
    REFERENCES "Account" ("id") ON DELETE CASCADE ON UPDATE CASCADE;
ALTER TABLE "SessionShare" ADD CONSTRAINT "SessionShare_sessionId_fkey" FOREIGN KEY ("sessionId")
    REFERENCES "Session" ("id") ON DELETE CASCADE ON UPDATE CASCADE;
ALTER TABLE "SessionShare" ADD CONSTRAINT "SessionShare_sharedByUserId_fkey" FOREIGN KEY ("sharedByUserId")
    REFERENCES "Account" ("id") ON DELETE RESTRICT ON UPDATE CASCADE;
ALTER TABLE "SessionShare" ADD CONSTRAINT "SessionShare_sharedWithUserId_fkey" FOREIGN KEY ("sharedWithUserId")
    REFERENCES "Account" ("id") ON DELETE RESTRICT ON UPDATE CASCADE;
ALTER TABLE "SessionShareAccessLog" ADD CONSTRAINT "SessionShareAccessLog_sessionShareId_fkey" FOREIGN KEY ("sessionShareId")
    REFERENCES "SessionShare" ("id") ON DELETE CASCADE ON UPDATE CASCADE;
ALTER TABLE "SessionShareAccessLog" ADD CONSTRAINT "SessionShareAccessLog_userId_fkey" FOREIGN KEY ("userId")
    REFERENCES "Account" ("id") ON DELETE RESTRICT ON UPDATE CASCADE;
ALTER TABLE "PublicSessionShare" ADD CONSTRAINT "PublicSessionShare_sessionId_fkey" FOREIGN KEY ("sessionId")
    REFERENCES "Session" ("id") ON DELETE CASCADE ON UPDATE CASCADE;
ALTER TABLE "PublicSessionShare" ADD CONSTRAINT "PublicSessionShare_createdByUserId_fkey" FOREIGN KEY ("createdByUserId")
    REFERENCES "Account" ("id") ON DELETE RESTRICT ON UPDATE CASCADE;
ALTER TABLE "PublicShareAccessLog" ADD CONSTRAINT "PublicShareAccessLog_publicShareId_fkey" FOREIGN KEY ("publicShareId")
    REFERENCES "PublicSessionShare" ("id") ON DELETE CASCADE ON UPDATE CASCADE;
ALTER TABLE "PublicShareAccessLog" ADD CONSTRAINT "PublicShareAccessLog_userId_fkey" FOREIGN KEY ("userId")
    REFERENCES "Account" ("id") ON DELETE SET NULL ON UPDATE CASCADE;
ALTER TABLE "PublicShareBlockedUser" ADD CONSTRAINT "PublicShareBlockedUser_publicShareId_fkey" FOREIGN KEY ("publicShareId")
    REFERENCES "PublicSessionShare" ("id") ON DELETE CASCADE ON UPDATE CASCADE;
ALTER TABLE "PublicShareBlockedUser" ADD CONSTRAINT "PublicShareBlockedUser_userId_fkey" FOREIGN KEY ("userId")
    REFERENCES "Account" ("id") ON DELETE RESTRICT ON UPDATE CASCADE;
