# Sourced by the script of each job, before what stands in the page: takes over where the job before ended, and hands
# on its folder and variables to the next. $1: the folder of the session's jobs.
__jobs=$1
__own=" $(compgen -v | tr '\n' ' ') __jobs __own __name _ PIPESTATUS BASH_LINENO BASH_ARGC BASH_ARGV OLDPWD "
set --
source "$__jobs/env"
cd "$(cat "$__jobs/cwd")" || exit

__hand_on() {
    pwd > "$__jobs/cwd"
    for __name in PATH $(compgen -v); do
        case "${__own/ PATH / }" in
            *" $__name "*) ;;
            *) declare -p "$__name" ;;
        esac
    done > "$__jobs/env"
}
