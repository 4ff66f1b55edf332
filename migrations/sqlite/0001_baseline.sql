-- The schema of migrations/postgres/0001_baseline.sql for SQLite: same tables, columns, keys and names.
-- STRICT tables and CHECKs hold what types hold on PostgreSQL. Times are Unix milliseconds, booleans 0 or 1, JSON is
-- text, "integer" has 32 bits.

CREATE TABLE "Account" (
    "id" TEXT NOT NULL,
    "publicKey" TEXT NOT NULL,
    "createdAt" INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    "updatedAt" INTEGER NOT NULL,
    "seq" INTEGER NOT NULL DEFAULT 0 CHECK ("seq" BETWEEN -2147483648 AND 2147483647),
    "settings" TEXT,
    "settingsVersion" INTEGER NOT NULL DEFAULT 0 CHECK ("settingsVersion" BETWEEN -2147483648 AND 2147483647),
    "githubUserId" TEXT,
    "avatar" TEXT CHECK (json_valid("avatar")),
    "firstName" TEXT,
    "lastName" TEXT,
    "username" TEXT,
    "feedSeq" INTEGER NOT NULL DEFAULT 0,
    "contentPublicKey" BLOB,
    "contentPublicKeySig" BLOB,
    "changesFloor" INTEGER NOT NULL DEFAULT 0 CHECK ("changesFloor" BETWEEN -2147483648 AND 2147483647),
    CONSTRAINT "Account_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "Account_githubUserId_fkey" FOREIGN KEY ("githubUserId")
        REFERENCES "GithubUser" ("id") ON DELETE SET NULL ON UPDATE CASCADE
) STRICT;
CREATE UNIQUE INDEX "Account_publicKey_key" ON "Account" ("publicKey");
CREATE UNIQUE INDEX "Account_githubUserId_key" ON "Account" ("githubUserId");
CREATE UNIQUE INDEX "Account_username_key" ON "Account" ("username");

CREATE TABLE "AccountChange" (
    "accountId" TEXT NOT NULL,
    "kind" TEXT NOT NULL,
    "entityId" TEXT NOT NULL,
    "cursor" INTEGER NOT NULL CHECK ("cursor" BETWEEN -2147483648 AND 2147483647),
    "changedAt" INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    "hint" TEXT CHECK (json_valid("hint")),
    CONSTRAINT "AccountChange_pkey" PRIMARY KEY ("accountId", "kind", "entityId"),
    CONSTRAINT "AccountChange_accountId_fkey" FOREIGN KEY ("accountId")
        REFERENCES "Account" ("id") ON DELETE CASCADE ON UPDATE CASCADE
) STRICT;
CREATE INDEX "AccountChange_accountId_cursor_idx" ON "AccountChange" ("accountId", "cursor");

CREATE TABLE "TerminalAuthRequest" (
    "id" TEXT NOT NULL,
    "publicKey" TEXT NOT NULL,
    "response" TEXT,
    "createdAt" INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    "updatedAt" INTEGER NOT NULL,
    "responseAccountId" TEXT,
    "supportsV2" INTEGER NOT NULL DEFAULT 0 CHECK ("supportsV2" IN (0, 1)),
    CONSTRAINT "TerminalAuthRequest_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "TerminalAuthRequest_responseAccountId_fkey" FOREIGN KEY ("responseAccountId")
        REFERENCES "Account" ("id") ON DELETE SET NULL ON UPDATE CASCADE
) STRICT;
CREATE UNIQUE INDEX "TerminalAuthRequest_publicKey_key" ON "TerminalAuthRequest" ("publicKey");

CREATE TABLE "AccountAuthRequest" (
    "id" TEXT NOT NULL,
    "publicKey" TEXT NOT NULL,
    "response" TEXT,
    "responseAccountId" TEXT,
    "createdAt" INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    "updatedAt" INTEGER NOT NULL,
    CONSTRAINT "AccountAuthRequest_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "AccountAuthRequest_responseAccountId_fkey" FOREIGN KEY ("responseAccountId")
        REFERENCES "Account" ("id") ON DELETE SET NULL ON UPDATE CASCADE
) STRICT;
CREATE UNIQUE INDEX "AccountAuthRequest_publicKey_key" ON "AccountAuthRequest" ("publicKey");

CREATE TABLE "AccountPushToken" (
    "id" TEXT NOT NULL,
    "accountId" TEXT NOT NULL,
    "token" TEXT NOT NULL,
    "createdAt" INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    "updatedAt" INTEGER NOT NULL,
    CONSTRAINT "AccountPushToken_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "AccountPushToken_accountId_fkey" FOREIGN KEY ("accountId")
        REFERENCES "Account" ("id") ON DELETE RESTRICT ON UPDATE CASCADE
) STRICT;
CREATE UNIQUE INDEX "AccountPushToken_accountId_token_key" ON "AccountPushToken" ("accountId", "token");

CREATE TABLE "Session" (
    "id" TEXT NOT NULL,
    "accountId" TEXT NOT NULL,
    "seq" INTEGER NOT NULL DEFAULT 0 CHECK ("seq" BETWEEN -2147483648 AND 2147483647),
    "createdAt" INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    "updatedAt" INTEGER NOT NULL,
    "tag" TEXT NOT NULL,
    "metadata" TEXT NOT NULL,
    "active" INTEGER NOT NULL DEFAULT 1 CHECK ("active" IN (0, 1)),
    "lastActiveAt" INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    "agentState" TEXT,
    "agentStateVersion" INTEGER NOT NULL DEFAULT 0 CHECK ("agentStateVersion" BETWEEN -2147483648 AND 2147483647),
    "metadataVersion" INTEGER NOT NULL DEFAULT 0 CHECK ("metadataVersion" BETWEEN -2147483648 AND 2147483647),
    "dataEncryptionKey" BLOB,
    CONSTRAINT "Session_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "Session_accountId_fkey" FOREIGN KEY ("accountId")
        REFERENCES "Account" ("id") ON DELETE RESTRICT ON UPDATE CASCADE
) STRICT;
CREATE UNIQUE INDEX "Session_accountId_tag_key" ON "Session" ("accountId", "tag");
CREATE INDEX "Session_accountId_updatedAt_idx" ON "Session" ("accountId", "updatedAt" DESC);

CREATE TABLE "SessionMessage" (
    "id" TEXT NOT NULL,
    "sessionId" TEXT NOT NULL,
    "seq" INTEGER NOT NULL CHECK ("seq" BETWEEN -2147483648 AND 2147483647),
    "content" TEXT NOT NULL CHECK (json_valid("content")),
    "createdAt" INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    "updatedAt" INTEGER NOT NULL,
    "localId" TEXT,
    CONSTRAINT "SessionMessage_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "SessionMessage_sessionId_fkey" FOREIGN KEY ("sessionId")
        REFERENCES "Session" ("id") ON DELETE RESTRICT ON UPDATE CASCADE
) STRICT;
CREATE UNIQUE INDEX "SessionMessage_sessionId_localId_key" ON "SessionMessage" ("sessionId", "localId");
CREATE INDEX "SessionMessage_sessionId_seq_idx" ON "SessionMessage" ("sessionId", "seq");

CREATE TABLE "GithubUser" (
    "id" TEXT NOT NULL,
    "profile" TEXT NOT NULL CHECK (json_valid("profile")),
    "token" BLOB,
    "createdAt" INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    "updatedAt" INTEGER NOT NULL,
    CONSTRAINT "GithubUser_pkey" PRIMARY KEY ("id")
) STRICT;

CREATE TABLE "GithubOrganization" (
    "id" TEXT NOT NULL,
    "profile" TEXT NOT NULL CHECK (json_valid("profile")),
    "createdAt" INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    "updatedAt" INTEGER NOT NULL,
    CONSTRAINT "GithubOrganization_pkey" PRIMARY KEY ("id")
) STRICT;

CREATE TABLE "GlobalLock" (
    "key" TEXT NOT NULL,
    "value" TEXT NOT NULL,
    "createdAt" INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    "updatedAt" INTEGER NOT NULL,
    "expiresAt" INTEGER NOT NULL,
    CONSTRAINT "GlobalLock_pkey" PRIMARY KEY ("key")
) STRICT;

CREATE TABLE "RepeatKey" (
    "key" TEXT NOT NULL,
    "value" TEXT NOT NULL,
    "createdAt" INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    "expiresAt" INTEGER NOT NULL,
    CONSTRAINT "RepeatKey_pkey" PRIMARY KEY ("key")
) STRICT;

CREATE TABLE "SimpleCache" (
    "key" TEXT NOT NULL,
    "value" TEXT NOT NULL,
    "createdAt" INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    "updatedAt" INTEGER NOT NULL,
    CONSTRAINT "SimpleCache_pkey" PRIMARY KEY ("key")
) STRICT;

CREATE TABLE "UsageReport" (
    "id" TEXT NOT NULL,
    "key" TEXT NOT NULL,
    "accountId" TEXT NOT NULL,
    "sessionId" TEXT,
    "data" TEXT NOT NULL CHECK (json_valid("data")),
    "createdAt" INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    "updatedAt" INTEGER NOT NULL,
    CONSTRAINT "UsageReport_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "UsageReport_accountId_fkey" FOREIGN KEY ("accountId")
        REFERENCES "Account" ("id") ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT "UsageReport_sessionId_fkey" FOREIGN KEY ("sessionId")
        REFERENCES "Session" ("id") ON DELETE SET NULL ON UPDATE CASCADE
) STRICT;
CREATE UNIQUE INDEX "UsageReport_accountId_sessionId_key_key" ON "UsageReport" ("accountId", "sessionId", "key");
CREATE INDEX "UsageReport_accountId_idx" ON "UsageReport" ("accountId");
CREATE INDEX "UsageReport_sessionId_idx" ON "UsageReport" ("sessionId");

CREATE TABLE "Machine" (
    "id" TEXT NOT NULL,
    "accountId" TEXT NOT NULL,
    "metadata" TEXT NOT NULL,
    "metadataVersion" INTEGER NOT NULL DEFAULT 0 CHECK ("metadataVersion" BETWEEN -2147483648 AND 2147483647),
    "seq" INTEGER NOT NULL DEFAULT 0 CHECK ("seq" BETWEEN -2147483648 AND 2147483647),
    "active" INTEGER NOT NULL DEFAULT 1 CHECK ("active" IN (0, 1)),
    "lastActiveAt" INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    "createdAt" INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    "updatedAt" INTEGER NOT NULL,
    "daemonState" TEXT,
    "daemonStateVersion" INTEGER NOT NULL DEFAULT 0 CHECK ("daemonStateVersion" BETWEEN -2147483648 AND 2147483647),
    "dataEncryptionKey" BLOB,
    CONSTRAINT "Machine_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "Machine_accountId_fkey" FOREIGN KEY ("accountId")
        REFERENCES "Account" ("id") ON DELETE RESTRICT ON UPDATE CASCADE
) STRICT;
CREATE UNIQUE INDEX "Machine_accountId_id_key" ON "Machine" ("accountId", "id");
CREATE INDEX "Machine_accountId_idx" ON "Machine" ("accountId");

CREATE TABLE "UploadedFile" (
    "id" TEXT NOT NULL,
    "accountId" TEXT NOT NULL,
    "path" TEXT NOT NULL,
    "createdAt" INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    "updatedAt" INTEGER NOT NULL,
    "reuseKey" TEXT,
    "height" INTEGER CHECK ("height" BETWEEN -2147483648 AND 2147483647),
    "thumbhash" TEXT,
    "width" INTEGER CHECK ("width" BETWEEN -2147483648 AND 2147483647),
    CONSTRAINT "UploadedFile_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "UploadedFile_accountId_fkey" FOREIGN KEY ("accountId")
        REFERENCES "Account" ("id") ON DELETE RESTRICT ON UPDATE CASCADE
) STRICT;
CREATE UNIQUE INDEX "UploadedFile_accountId_path_key" ON "UploadedFile" ("accountId", "path");
CREATE INDEX "UploadedFile_accountId_idx" ON "UploadedFile" ("accountId");

CREATE TABLE "ServiceAccountToken" (
    "id" TEXT NOT NULL,
    "accountId" TEXT NOT NULL,
    "vendor" TEXT NOT NULL,
    "token" BLOB NOT NULL,
    "metadata" TEXT CHECK (json_valid("metadata")),
    "lastUsedAt" INTEGER,
    "createdAt" INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    "updatedAt" INTEGER NOT NULL,
    CONSTRAINT "ServiceAccountToken_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "ServiceAccountToken_accountId_fkey" FOREIGN KEY ("accountId")
        REFERENCES "Account" ("id") ON DELETE CASCADE ON UPDATE CASCADE
) STRICT;
CREATE UNIQUE INDEX "ServiceAccountToken_accountId_vendor_key" ON "ServiceAccountToken" ("accountId", "vendor");
CREATE INDEX "ServiceAccountToken_accountId_idx" ON "ServiceAccountToken" ("accountId");

CREATE TABLE "Artifact" (
    "id" TEXT NOT NULL,
    "accountId" TEXT NOT NULL,
    "header" BLOB NOT NULL,
    "headerVersion" INTEGER NOT NULL DEFAULT 0 CHECK ("headerVersion" BETWEEN -2147483648 AND 2147483647),
    "body" BLOB NOT NULL,
    "bodyVersion" INTEGER NOT NULL DEFAULT 0 CHECK ("bodyVersion" BETWEEN -2147483648 AND 2147483647),
    "dataEncryptionKey" BLOB NOT NULL,
    "seq" INTEGER NOT NULL DEFAULT 0 CHECK ("seq" BETWEEN -2147483648 AND 2147483647),
    "createdAt" INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    "updatedAt" INTEGER NOT NULL,
    CONSTRAINT "Artifact_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "Artifact_accountId_fkey" FOREIGN KEY ("accountId")
        REFERENCES "Account" ("id") ON DELETE RESTRICT ON UPDATE CASCADE
) STRICT;
CREATE INDEX "Artifact_accountId_idx" ON "Artifact" ("accountId");
CREATE INDEX "Artifact_accountId_updatedAt_idx" ON "Artifact" ("accountId", "updatedAt" DESC);

CREATE TABLE "AccessKey" (
    "id" TEXT NOT NULL,
    "accountId" TEXT NOT NULL,
    "machineId" TEXT NOT NULL,
    "sessionId" TEXT NOT NULL,
    "data" TEXT NOT NULL,
    "dataVersion" INTEGER NOT NULL DEFAULT 0 CHECK ("dataVersion" BETWEEN -2147483648 AND 2147483647),
    "createdAt" INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    "updatedAt" INTEGER NOT NULL,
    CONSTRAINT "AccessKey_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "AccessKey_accountId_fkey" FOREIGN KEY ("accountId")
        REFERENCES "Account" ("id") ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT "AccessKey_accountId_machineId_fkey" FOREIGN KEY ("accountId", "machineId")
        REFERENCES "Machine" ("accountId", "id") ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT "AccessKey_sessionId_fkey" FOREIGN KEY ("sessionId")
        REFERENCES "Session" ("id") ON DELETE RESTRICT ON UPDATE CASCADE
) STRICT;
CREATE UNIQUE INDEX "AccessKey_accountId_machineId_sessionId_key" ON "AccessKey" ("accountId", "machineId", "sessionId");
CREATE INDEX "AccessKey_accountId_idx" ON "AccessKey" ("accountId");
CREATE INDEX "AccessKey_sessionId_idx" ON "AccessKey" ("sessionId");
CREATE INDEX "AccessKey_machineId_idx" ON "AccessKey" ("machineId");

CREATE TABLE "UserRelationship" (
    "fromUserId" TEXT NOT NULL,
    "toUserId" TEXT NOT NULL,
    "status" TEXT NOT NULL DEFAULT 'pending' CHECK ("status" IN ('none', 'requested', 'pending', 'friend', 'rejected')),
    "createdAt" INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    "updatedAt" INTEGER NOT NULL,
    "acceptedAt" INTEGER,
    "lastNotifiedAt" INTEGER,
    CONSTRAINT "UserRelationship_pkey" PRIMARY KEY ("fromUserId", "toUserId"),
    CONSTRAINT "UserRelationship_fromUserId_fkey" FOREIGN KEY ("fromUserId")
        REFERENCES "Account" ("id") ON DELETE CASCADE ON UPDATE CASCADE,
    CONSTRAINT "UserRelationship_toUserId_fkey" FOREIGN KEY ("toUserId")
        REFERENCES "Account" ("id") ON DELETE CASCADE ON UPDATE CASCADE
) STRICT;
CREATE INDEX "UserRelationship_toUserId_status_idx" ON "UserRelationship" ("toUserId", "status");
CREATE INDEX "UserRelationship_fromUserId_status_idx" ON "UserRelationship" ("fromUserId", "status");

CREATE TABLE "UserFeedItem" (
    "id" TEXT NOT NULL,
    "userId" TEXT NOT NULL,
    "counter" INTEGER NOT NULL,
    "repeatKey" TEXT,
    "body" TEXT NOT NULL CHECK (json_valid("body")),
    "createdAt" INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    "updatedAt" INTEGER NOT NULL,
    CONSTRAINT "UserFeedItem_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "UserFeedItem_userId_fkey" FOREIGN KEY ("userId")
        REFERENCES "Account" ("id") ON DELETE CASCADE ON UPDATE CASCADE
) STRICT;
CREATE UNIQUE INDEX "UserFeedItem_userId_counter_key" ON "UserFeedItem" ("userId", "counter");
CREATE UNIQUE INDEX "UserFeedItem_userId_repeatKey_key" ON "UserFeedItem" ("userId", "repeatKey");
CREATE INDEX "UserFeedItem_userId_counter_idx" ON "UserFeedItem" ("userId", "counter" DESC);

CREATE TABLE "UserKVStore" (
    "id" TEXT NOT NULL,
    "accountId" TEXT NOT NULL,
    "key" TEXT NOT NULL,
    "value" BLOB,
    "version" INTEGER NOT NULL DEFAULT 0 CHECK ("version" BETWEEN -2147483648 AND 2147483647),
    "createdAt" INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    "updatedAt" INTEGER NOT NULL,
    CONSTRAINT "UserKVStore_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "UserKVStore_accountId_fkey" FOREIGN KEY ("accountId")
        REFERENCES "Account" ("id") ON DELETE CASCADE ON UPDATE CASCADE
) STRICT;
CREATE UNIQUE INDEX "UserKVStore_accountId_key_key" ON "UserKVStore" ("accountId", "key");
CREATE INDEX "UserKVStore_accountId_idx" ON "UserKVStore" ("accountId");

CREATE TABLE "SessionShare" (
    "id" TEXT NOT NULL,
    "sessionId" TEXT NOT NULL,
    "sharedByUserId" TEXT NOT NULL,
    "sharedWithUserId" TEXT NOT NULL,
    "accessLevel" TEXT NOT NULL DEFAULT 'view' CHECK ("accessLevel" IN ('view', 'edit', 'admin')),
    "encryptedDataKey" BLOB NOT NULL,
    "createdAt" INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    "updatedAt" INTEGER NOT NULL,
    "canApprovePermissions" INTEGER NOT NULL DEFAULT 0 CHECK ("canApprovePermissions" IN (0, 1)),
    CONSTRAINT "SessionShare_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "SessionShare_sessionId_fkey" FOREIGN KEY ("sessionId")
        REFERENCES "Session" ("id") ON DELETE CASCADE ON UPDATE CASCADE,
    CONSTRAINT "SessionShare_sharedByUserId_fkey" FOREIGN KEY ("sharedByUserId")
        REFERENCES "Account" ("id") ON DELETE RESTRICT ON UPDATE CASCADE,
    CONSTRAINT "SessionShare_sharedWithUserId_fkey" FOREIGN KEY ("sharedWithUserId")
        REFERENCES "Account" ("id") ON DELETE RESTRICT ON UPDATE CASCADE
) STRICT;
CREATE UNIQUE INDEX "SessionShare_sessionId_sharedWithUserId_key" ON "SessionShare" ("sessionId", "sharedWithUserId");
CREATE INDEX "SessionShare_sharedWithUserId_idx" ON "SessionShare" ("sharedWithUserId");
CREATE INDEX "SessionShare_sharedByUserId_idx" ON "SessionShare" ("sharedByUserId");
CREATE INDEX "SessionShare_sessionId_idx" ON "SessionShare" ("sessionId");

CREATE TABLE "SessionShareAccessLog" (
    "id" TEXT NOT NULL,
    "sessionShareId" TEXT NOT NULL,
    "userId" TEXT NOT NULL,
    "accessedAt" INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    "ipAddress" TEXT,
    "userAgent" TEXT,
    CONSTRAINT "SessionShareAccessLog_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "SessionShareAccessLog_sessionShareId_fkey" FOREIGN KEY ("sessionShareId")
        REFERENCES "SessionShare" ("id") ON DELETE CASCADE ON UPDATE CASCADE,
    CONSTRAINT "SessionShareAccessLog_userId_fkey" FOREIGN KEY ("userId")
        REFERENCES "Account" ("id") ON DELETE RESTRICT ON UPDATE CASCADE
) STRICT;
CREATE INDEX "SessionShareAccessLog_sessionShareId_idx" ON "SessionShareAccessLog" ("sessionShareId");
CREATE INDEX "SessionShareAccessLog_userId_idx" ON "SessionShareAccessLog" ("userId");
CREATE INDEX "SessionShareAccessLog_accessedAt_idx" ON "SessionShareAccessLog" ("accessedAt");

CREATE TABLE "PublicSessionShare" (
    "id" TEXT NOT NULL,
    "sessionId" TEXT NOT NULL,
    "createdByUserId" TEXT NOT NULL,
    "encryptedDataKey" BLOB NOT NULL,
    "expiresAt" INTEGER,
    "maxUses" INTEGER CHECK ("maxUses" BETWEEN -2147483648 AND 2147483647),
    "useCount" INTEGER NOT NULL DEFAULT 0 CHECK ("useCount" BETWEEN -2147483648 AND 2147483647),
    "createdAt" INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    "updatedAt" INTEGER NOT NULL,
    "isConsentRequired" INTEGER NOT NULL DEFAULT 0 CHECK ("isConsentRequired" IN (0, 1)),
    "tokenHash" BLOB NOT NULL,
    CONSTRAINT "PublicSessionShare_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "PublicSessionShare_sessionId_fkey" FOREIGN KEY ("sessionId")
        REFERENCES "Session" ("id") ON DELETE CASCADE ON UPDATE CASCADE,
    CONSTRAINT "PublicSessionShare_createdByUserId_fkey" FOREIGN KEY ("createdByUserId")
        REFERENCES "Account" ("id") ON DELETE RESTRICT ON UPDATE CASCADE
) STRICT;
CREATE UNIQUE INDEX "PublicSessionShare_sessionId_key" ON "PublicSessionShare" ("sessionId");
CREATE UNIQUE INDEX "PublicSessionShare_tokenHash_key" ON "PublicSessionShare" ("tokenHash");
CREATE INDEX "PublicSessionShare_sessionId_idx" ON "PublicSessionShare" ("sessionId");
CREATE INDEX "PublicSessionShare_tokenHash_idx" ON "PublicSessionShare" ("tokenHash");

CREATE TABLE "PublicShareAccessLog" (
    "id" TEXT NOT NULL,
    "publicShareId" TEXT NOT NULL,
    "userId" TEXT,
    "accessedAt" INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    "ipAddress" TEXT,
    "userAgent" TEXT,
    CONSTRAINT "PublicShareAccessLog_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "PublicShareAccessLog_publicShareId_fkey" FOREIGN KEY ("publicShareId")
        REFERENCES "PublicSessionShare" ("id") ON DELETE CASCADE ON UPDATE CASCADE,
    CONSTRAINT "PublicShareAccessLog_userId_fkey" FOREIGN KEY ("userId")
        REFERENCES "Account" ("id") ON DELETE SET NULL ON UPDATE CASCADE
) STRICT;
CREATE INDEX "PublicShareAccessLog_publicShareId_idx" ON "PublicShareAccessLog" ("publicShareId");
CREATE INDEX "PublicShareAccessLog_userId_idx" ON "PublicShareAccessLog" ("userId");
CREATE INDEX "PublicShareAccessLog_accessedAt_idx" ON "PublicShareAccessLog" ("accessedAt");

CREATE TABLE "PublicShareBlockedUser" (
    "id" TEXT NOT NULL,
    "publicShareId" TEXT NOT NULL,
    "userId" TEXT NOT NULL,
    "blockedAt" INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    "reason" TEXT,
    CONSTRAINT "PublicShareBlockedUser_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "PublicShareBlockedUser_publicShareId_fkey" FOREIGN KEY ("publicShareId")
        REFERENCES "PublicSessionShare" ("id") ON DELETE CASCADE ON UPDATE CASCADE,
    CONSTRAINT "PublicShareBlockedUser_userId_fkey" FOREIGN KEY ("userId")
        REFERENCES "Account" ("id") ON DELETE RESTRICT ON UPDATE CASCADE
) STRICT;
CREATE UNIQUE INDEX "PublicShareBlockedUser_publicShareId_userId_key" ON "PublicShareBlockedUser" ("publicShareId", "userId");
CREATE INDEX "PublicShareBlockedUser_publicShareId_idx" ON "PublicShareBlockedUser" ("publicShareId");
CREATE INDEX "PublicShareBlockedUser_userId_idx" ON "PublicShareBlockedUser" ("userId");
