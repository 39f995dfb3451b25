-- A fence in the transaction that has the effect, for any database that knows ON CONFLICT (SQLite, PostgreSQL). A stale
-- holder changes nothing: its fence is not taken, and the effect asks whether it was.
-- Parameters: :resource, :fence, and whatever the effect needs; here :text of a report.

CREATE TABLE IF NOT EXISTS fences (resource TEXT PRIMARY KEY, fence BIGINT NOT NULL);
CREATE TABLE IF NOT EXISTS reports (name TEXT PRIMARY KEY, text TEXT NOT NULL);

BEGIN IMMEDIATE; -- PostgreSQL: BEGIN; the first statement locks the row
INSERT INTO fences (resource, fence) VALUES (:resource, :fence)
  ON CONFLICT (resource) DO UPDATE SET fence = excluded.fence WHERE excluded.fence >= fences.fence;
INSERT INTO reports (name, text)
  SELECT :resource, :text WHERE (SELECT fence FROM fences WHERE resource = :resource) = :fence
  ON CONFLICT (name) DO UPDATE SET text = excluded.text;
COMMIT;

-- Higher than :fence: the caller was refused, and nothing of it was written.
SELECT fence FROM fences WHERE resource = :resource;
