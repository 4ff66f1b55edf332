-- 64 accounts with a session each, as the load generator makes them.
INSERT INTO "Account" ("id", "publicKey", "updatedAt")
SELECT 'bench-a-' || n, 'bench-' || n, now() FROM generate_series(1, 64) AS n ON CONFLICT DO NOTHING;
INSERT INTO "Session" ("id", "accountId", "tag", "metadata", "updatedAt")
SELECT 'bench-s-' || n, 'bench-a-' || n, 'tag', 'metadata', now() FROM generate_series(1, 64) AS n ON CONFLICT DO NOTHING;
