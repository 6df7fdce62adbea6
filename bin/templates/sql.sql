-- describe: System calls that failed, by place
-- option least = 1: Failures at one place that are told
--
-- Run it with: grind analyze ./NAME.sql --least=2
-- Each row with a column `what` is a finding; kind, count, thread, tick, stack (or pc) and severity (error, warning, note) say
-- more about it, and further columns are told as notes. Without `what`, the rows are a table, also for `grind query`.
-- `grind query --tables` describes the tables that there are.
select process, 'FailedCall' as kind, name || ' failed: ' || errno as what, stack, count(*) as count,
  min(tick) as tick, any_value(thread) as thread, if(errno = 'ENOENT', 'note', 'warning') as severity
from syscalls
where errno is not null
group by process, name, errno, stack
having count(*) >= $least
order by process, tick
