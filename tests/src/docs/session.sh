# The shell of a session: the first process of its own networks and process tree, which ends with it.
# Reads one order a line, answers one line each. Every order names a job, whose script it runs.
#   run JOB        to its end; answers its exit code
#   start JOB      in the background; answers at once
#   interrupt JOB  as Ctrl-C does; answers once it has ended
set -u
jobs=$1
ip link set lo up || exit 1
exec 2> "$jobs/shell" # What it says of its jobs' ends.
set -m # Each job is a process group, and is not deaf to SIGINT.
declare -A groups
echo up
while read -r order job; do
    case $order in
        run)
            bash -e "$jobs/$job.sh" > "$jobs/$job.out" 2>&1 < /dev/null
            echo "$?"
            ;;
        start)
            { bash -e "$jobs/$job.sh" > "$jobs/$job.out" 2>&1 < /dev/null; echo $? > "$jobs/$job.code"; } &
            groups[$job]=$!
            echo started
            ;;
        interrupt)
            kill -INT -- "-${groups[$job]}" 2> /dev/null
            wait "${groups[$job]}"
            echo interrupted
            ;;
    esac
done
