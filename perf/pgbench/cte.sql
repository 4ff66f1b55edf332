-- One message through a data-modifying CTE that does the same work for one message (design alternative to the function).
\set n random(1, 64)
WITH access AS MATERIALIZED (
    SELECT s."id", s."accountId" AS owner FROM "Session" AS s WHERE s."id" = 'bench-s-' || :n
      AND (s."accountId" = 'bench-a-' || :n OR EXISTS (SELECT 1 FROM "SessionShare" AS h WHERE h."sessionId" = s."id"
           AND h."sharedWithUserId" = 'bench-a-' || :n AND h."accessLevel" IN ('edit', 'admin')))
    FOR NO KEY UPDATE
), earlier AS MATERIALIZED (
    SELECT m."id", m."seq" FROM "SessionMessage" AS m, access
    WHERE m."sessionId" = access."id" AND m."localId" = md5(random()::text)
), numbered AS (
    UPDATE "Session" AS s SET "seq" = s."seq" + 1, "updatedAt" = now() FROM access
    WHERE s."id" = access."id" AND NOT EXISTS (SELECT 1 FROM earlier) RETURNING s."id", s."seq"
), stored AS (
    INSERT INTO "SessionMessage" ("id", "sessionId", "seq", "content", "createdAt", "updatedAt", "localId")
    SELECT md5(random()::text), n."id", n."seq", jsonb_build_object('t', 'encrypted', 'c', repeat('x', 256)), now(), now(),
           md5(random()::text) FROM numbered AS n RETURNING "id", "sessionId", "seq"
), participants AS MATERIALIZED (
    SELECT owner AS account FROM access UNION
    SELECT h."sharedWithUserId" FROM "SessionShare" AS h, access WHERE h."sessionId" = access."id"
), counted AS (
    UPDATE "Account" AS a SET "seq" = a."seq" + 1, "updatedAt" = now()
    FROM (SELECT p.account FROM participants AS p, stored ORDER BY 1) AS p WHERE a."id" = p.account
    RETURNING a."id", a."seq"
), changed AS (
    INSERT INTO "AccountChange" ("accountId", "kind", "entityId", "cursor", "changedAt", "hint")
    SELECT c."id", 'session', s."sessionId", c."seq", now(),
           jsonb_build_object('lastMessageSeq', s."seq", 'lastMessageId', s."id") FROM counted AS c, stored AS s
    ON CONFLICT ("accountId", "kind", "entityId")
    DO UPDATE SET "cursor" = EXCLUDED."cursor", "changedAt" = EXCLUDED."changedAt", "hint" = EXCLUDED."hint"
)
SELECT s."id", s."seq", (SELECT array_agg(c."id") FROM counted AS c), (SELECT array_agg(c."seq") FROM counted AS c) FROM stored AS s;
