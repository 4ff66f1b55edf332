DROP TABLE "Update";
