-- Stores a batch of messages in one statement, so in one round trip and one commit. The arrays run in parallel, one
-- element per message; no session and local id may occur twice in a batch. An empty local id is none.
--
-- "repeated" says that the batch may have been stored already by an attempt whose answer was lost. Then a message whose
-- id exists is reported as new, with the cursors its session has now.
--
-- Locks are taken in the order all writers keep: session rows by id, then account rows by id. Counters come from
-- RETURNING, so they are right even for an account that was not locked because its share is that new.
--
-- Outcomes: 0 stored, 1 duplicate of an earlier message (whose columns are given), 2 no such session, 3 no permission.
CREATE FUNCTION happier_store_messages(
    repeated BOOLEAN, ids TEXT[], callers TEXT[], sessions TEXT[], local_ids TEXT[], ciphertexts TEXT[], times_ms BIGINT[]
) RETURNS TABLE (
    place BIGINT, outcome INTEGER, id TEXT, seq INTEGER, local_id TEXT, created_at TIMESTAMP(3), updated_at TIMESTAMP(3),
    content JSONB, accounts TEXT[], cursors INTEGER[]
) LANGUAGE plpgsql VOLATILE
-- The rows are always found by their keys. Without statistics, on a fresh table, the planner would think otherwise.
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    PERFORM 1 FROM "Session" AS s WHERE s."id" = ANY (sessions) ORDER BY s."id" FOR NO KEY UPDATE;
    PERFORM 1 FROM "Account" AS a
    WHERE a."id" IN (
        SELECT s."accountId" FROM "Session" AS s WHERE s."id" = ANY (sessions)
        UNION ALL
        SELECT h."sharedWithUserId" FROM "SessionShare" AS h WHERE h."sessionId" = ANY (sessions)
    )
    ORDER BY a."id" FOR NO KEY UPDATE;

    RETURN QUERY
    WITH input AS MATERIALIZED (
        SELECT i.place, i.id, i.caller, i.session, NULLIF(i.local_id, '') AS local_id, i.ciphertext,
               (TIMESTAMP '1970-01-01' + i.time_ms * INTERVAL '1 millisecond')::TIMESTAMP(3) AS at
        FROM unnest(ids, callers, sessions, local_ids, ciphertexts, times_ms) WITH ORDINALITY
            AS i (id, caller, session, local_id, ciphertext, time_ms, place)
    ), judged AS MATERIALIZED (
        SELECT i.*, s."accountId" AS owner, again."id" AS again, earlier."id" AS earlier,
               s."accountId" = i.caller OR EXISTS (
                   SELECT 1 FROM "SessionShare" AS h
                   WHERE h."sessionId" = i.session AND h."sharedWithUserId" = i.caller
                     AND h."accessLevel" IN ('edit', 'admin')
               ) AS allowed
        FROM input AS i
        LEFT JOIN "Session" AS s ON s."id" = i.session
        LEFT JOIN "SessionMessage" AS again ON repeated AND again."id" = i.id
        LEFT JOIN "SessionMessage" AS earlier ON earlier."sessionId" = i.session AND earlier."localId" = i.local_id
    ), accepted AS MATERIALIZED (
        SELECT j.*, row_number() OVER (PARTITION BY j.session ORDER BY j.place) AS nth
        FROM judged AS j
        WHERE j.allowed AND j.again IS NULL AND j.earlier IS NULL
    ), numbered AS (
        UPDATE "Session" AS s SET "seq" = s."seq" + c.added, "updatedAt" = c.at
        FROM (SELECT a.session, count(*)::INTEGER AS added, max(a.at) AS at FROM accepted AS a GROUP BY a.session) AS c
        WHERE s."id" = c.session
        RETURNING s."id" AS session, s."seq" - c.added AS before
    ), stored AS (
        INSERT INTO "SessionMessage" ("id", "sessionId", "seq", "content", "createdAt", "updatedAt", "localId")
        SELECT a.id, a.session, n.before + a.nth, jsonb_build_object('t', 'encrypted', 'c', a.ciphertext), a.at, a.at, a.local_id
        FROM accepted AS a JOIN numbered AS n ON n.session = a.session
        RETURNING "SessionMessage"."id" AS id, "SessionMessage"."seq" AS seq
    ), participants AS MATERIALIZED (
        SELECT p.*, row_number() OVER (PARTITION BY p.account ORDER BY p.place) AS nth
        FROM (
            SELECT a.place, a.id, a.session, a.at, a.owner AS account, 0 AS rank FROM accepted AS a
            UNION ALL
            SELECT a.place, a.id, a.session, a.at, h."sharedWithUserId", 1
            FROM accepted AS a JOIN "SessionShare" AS h ON h."sessionId" = a.session
            WHERE h."sharedWithUserId" <> a.owner
        ) AS p
    ), counted AS (
        UPDATE "Account" AS x SET "seq" = x."seq" + c.added, "updatedAt" = c.at
        FROM (
            SELECT p.account, count(*)::INTEGER AS added, max(p.at) AS at FROM participants AS p GROUP BY p.account
        ) AS c
        WHERE x."id" = c.account
        RETURNING x."id" AS account, x."seq" - c.added AS before
    ), marked AS MATERIALIZED (
        SELECT p.place, p.id, p.session, p.at, p.account, p.rank, (c.before + p.nth)::INTEGER AS cursor
        FROM participants AS p JOIN counted AS c ON c.account = p.account
    ), changed AS (
        INSERT INTO "AccountChange" ("accountId", "kind", "entityId", "cursor", "changedAt", "hint")
        SELECT DISTINCT ON (m.account, m.session) m.account, 'session', m.session, m.cursor, m.at,
               jsonb_build_object('lastMessageSeq', s.seq, 'lastMessageId', m.id)
        FROM marked AS m JOIN stored AS s ON s.id = m.id
        ORDER BY m.account, m.session, m.place DESC
        ON CONFLICT ("accountId", "kind", "entityId")
        DO UPDATE SET "cursor" = EXCLUDED."cursor", "changedAt" = EXCLUDED."changedAt", "hint" = EXCLUDED."hint"
    )
    SELECT a.place, 0, a.id, s.seq, a.local_id, a.at, a.at, NULL::JSONB,
           (SELECT array_agg(m.account ORDER BY m.rank, m.account) FROM marked AS m WHERE m.place = a.place),
           (SELECT array_agg(m.cursor ORDER BY m.rank, m.account) FROM marked AS m WHERE m.place = a.place)
    FROM accepted AS a JOIN stored AS s ON s.id = a.id
    UNION ALL
    SELECT j.place,
           CASE WHEN j.again IS NOT NULL THEN 0 WHEN j.owner IS NULL THEN 2 WHEN NOT j.allowed THEN 3 ELSE 1 END,
           e."id", e."seq", e."localId", e."createdAt", e."updatedAt", e."content", now_at.accounts, now_at.cursors
    FROM judged AS j
    LEFT JOIN "SessionMessage" AS e
        ON e."id" = CASE WHEN j.again IS NOT NULL THEN j.again WHEN j.allowed THEN j.earlier END
    LEFT JOIN LATERAL (
        SELECT array_agg(c."accountId" ORDER BY c."accountId" <> j.owner, c."accountId") AS accounts,
               array_agg(c."cursor" ORDER BY c."accountId" <> j.owner, c."accountId") AS cursors
        FROM "AccountChange" AS c
        WHERE c."kind" = 'session' AND c."entityId" = j.session
          AND (c."accountId" = j.owner OR c."accountId" IN (
              SELECT h."sharedWithUserId" FROM "SessionShare" AS h WHERE h."sessionId" = j.session))
    ) AS now_at ON j.again IS NOT NULL
    WHERE j.allowed IS NOT TRUE OR j.again IS NOT NULL OR j.earlier IS NOT NULL;
END
$$;
