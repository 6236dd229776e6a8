fn main() -> std::process::ExitCode {
    warren::main()
}
