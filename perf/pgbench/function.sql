-- One message through the function of migration 0002.
\set n random(1, 64)
SELECT * FROM happier_store_messages(false, ARRAY[md5(random()::text)], ARRAY['bench-a-' || :n], ARRAY['bench-s-' || :n],
    ARRAY[md5(random()::text)], ARRAY[repeat('x', 256)], ARRAY[1764000000000]);
