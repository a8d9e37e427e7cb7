-- Cancel or expire a job that has not ended.
-- ARGV: job state error retention_seconds
if is_open(ARGV[1]) then end_job(ARGV[1], ARGV[2], ARGV[3], ARGV[4]) end
return fields(ARGV[1])
