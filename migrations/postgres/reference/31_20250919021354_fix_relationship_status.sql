-- Fails if rows use a value that is gone.
ALTER TYPE "RelationshipStatus" RENAME TO "RelationshipStatus_old";
CREATE TYPE "RelationshipStatus" AS ENUM ('none', 'requested', 'pending', 'friend', 'rejected');
ALTER TABLE "UserRelationship" ALTER COLUMN "status" DROP DEFAULT;
ALTER TABLE "UserRelationship" ALTER COLUMN "status" TYPE "RelationshipStatus"
    USING ("status"::text::"RelationshipStatus");
ALTER TABLE "UserRelationship" ALTER COLUMN "status" SET DEFAULT 'pending';
DROP TYPE "RelationshipStatus_old";
