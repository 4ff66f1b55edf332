DO $$ BEGIN RAISE EXCEPTION 'completing a partial history is not supported yet'; END $$;
