//! The `oust` binary: everything is in the library.

fn main() -> std::process::ExitCode {
    oust::cli::main()
}
