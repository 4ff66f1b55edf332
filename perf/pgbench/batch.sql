-- Sixteen messages of as many sessions in one call.
\set n random(0, 3)
SELECT * FROM happier_store_messages(false,
    (SELECT array_agg(md5(random()::text)) FROM generate_series(1, 16)),
    (SELECT array_agg('bench-a-' || (:n * 16 + i)) FROM generate_series(1, 16) AS i),
    (SELECT array_agg('bench-s-' || (:n * 16 + i)) FROM generate_series(1, 16) AS i),
    (SELECT array_agg(md5(random()::text)) FROM generate_series(1, 16)),
    (SELECT array_agg(repeat('x', 256)) FROM generate_series(1, 16)),
    (SELECT array_agg(1764000000000) FROM generate_series(1, 16)));
