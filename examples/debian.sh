# shellcheck shell=bash
# For scripts that use packages of another Debian release than the machine's own. They do not change the machine.

# with_debian RELEASE FOLDER COMMAND...
#
# Runs a command in a folder, with an apt that is configured for that release only. It uses the mirror that the machine
# already uses, and keeps its lists and downloads in the folder. All output goes to stderr.
with_debian() {
    local release=$1 folder=$2 mirror
    shift 2
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Component: main' 2>/dev/null | head -n 1)
    [ -n "$mirror" ] || { echo "apt knows no Debian mirror here" >&2; return 1; }
    mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial" || return
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $release main" >"$folder/sources.list"
    cat >"$folder/apt.conf" <<CONF
Dir::Etc::sourcelist "$folder/sources.list";
Dir::Etc::sourceparts "-";
Dir::State::lists "$folder/lists";
Dir::State::status "/dev/null";
Dir::Cache "$folder/cache";
Acquire::Languages "none";
APT::Sandbox::User "";
CONF
    (
        export APT_CONFIG=$folder/apt.conf
        cd "$folder" && apt-get update -q && "$@"
    ) >&2
}

# unpack FOLDER: unpacks the packages of the current directory into a folder.
unpack() {
    local package
    for package in *.deb; do
        dpkg --fsys-tarfile "$package" | tar -x -C "$1" || return
    done
}
