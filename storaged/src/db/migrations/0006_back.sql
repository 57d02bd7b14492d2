DROP TABLE claims;
ALTER TABLE totals DROP COLUMN claims;
