//! The command line: one file per subject. It only translates; what is decided is decided below.
//!
//! Results go to stdout, failures to stderr with what to do next. Exit codes: 0 ok, 1 found problems, 2 usage, 3 could
//! not reach something.

mod audit;
mod bench;
mod buried;
mod cases;
mod check;
mod demo;
mod healthz;
mod out;
mod pause;
mod playbook;
mod reviewer;
mod send;
mod serve;
mod store;
mod token;
mod twin;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, CONFIG, Environment};

pub use out::{Code, Failure, Out};

/// Evicts a stolen session: revoke first, at once, by machine; reset later, approved by a human; revoke again.
#[derive(Debug, Parser)]
#[command(name = "oust", version, disable_help_subcommand = true, propagate_version = true)]
struct Cli {
    /// Print results as JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

/// Which file to read.
#[derive(Debug, Clone, Args)]
struct ConfigArg {
    /// The configuration file [default: the variable `OUST_CONFIG`, else oust.yaml].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything in one process on this machine, with a simulated tenant and an attacker.
    Demo(demo::Demo),
    /// Receive, decide, act.
    Serve(serve::Serve),
    /// Configuration and playbooks: what is wrong, what is unwise.
    Check(check::Check),
    /// Sign and post a payload as a sender would.
    Send(send::Send),
    /// Playbooks: check them, list what they can do, schema for editors.
    #[command(subcommand)]
    Playbook(playbook::Playbook),
    /// Cases: everything about evicting one person.
    #[command(subcommand)]
    Case(cases::Case),
    /// Tasks: what waits for a human.
    #[command(subcommand)]
    Task(cases::Task),
    /// Deliveries and runs set aside with a reason.
    #[command(subcommand)]
    Buried(buried::Command),
    /// Who may sign in and decide.
    #[command(subcommand)]
    Reviewer(reviewer::Command),
    /// Tokens for the read API.
    #[command(subcommand)]
    Token(token::Command),
    /// The audit trail: everything that happened and was refused.
    #[command(subcommand)]
    Audit(audit::Command),
    /// Stop every effect, containment included; signals are still taken.
    Pause(pause::Pause),
    /// Start effects again.
    Resume(pause::Resume),
    /// Bring the store's schema up to date, and the broker's queues where there is one.
    Migrate(store::Migrate),
    /// Ask a running process whether it lives.
    Healthz(healthz::Healthz),
    /// The simulated tenant alone.
    Twin(twin::Twin),
    /// The budgets on this machine, against a stub, as a table.
    Bench(bench::Bench),
}

/// What every command gets.
#[derive(Debug)]
struct Context {
    out: Out,
    environment: Environment,
}

impl Context {
    fn path(&self, arg: &ConfigArg) -> PathBuf {
        let named = arg.config.clone().or_else(|| self.environment.get(CONFIG).map(PathBuf::from));
        named.unwrap_or_else(|| PathBuf::from("oust.yaml"))
    }

    fn options(&self) -> config::Options {
        config::Options { environment: self.environment.clone(), inline_secrets: false }
    }

    /// The configuration, with its warnings shown.
    fn load(&self, arg: &ConfigArg) -> Result<config::Config, Failure> {
        match config::load(&self.path(arg), &self.options()) {
            Ok(loaded) => {
                self.out.pictures(&loaded.warnings);
                Ok(loaded.config)
            }
            Err(error) => Err(self.refused(&error)),
        }
    }

    /// A configuration that cannot be used: pictures first, then the sum.
    fn refused(&self, error: &config::Error) -> Failure {
        match error {
            config::Error::Wrong { found, .. } => {
                self.out.pictures(found);
                Failure::of(Code::Problems, error, "mend them and run `oust check`")
            }
            config::Error::Unreadable { .. } => {
                let next = "name the file with --config, or start from deploy/oust.yaml of the documentation";
                Failure::of(Code::Unreachable, error, next)
            }
        }
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let environment = Environment::of_process();
    let context = Context { out: Out { json: cli.json, colour: environment.colour() }, environment };
    // The one crypto provider of the process; a second installation would be a bug of ours.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        context.out.note("warning: a crypto provider was already installed");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            context.out.fail(&Failure::of(Code::Unreachable, &error, "the machine refuses threads; see ulimit -u"));
            return ExitCode::from(Code::Unreachable as u8);
        }
    };
    match runtime.block_on(run(&context, cli.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            context.out.fail(&failure);
            ExitCode::from(failure.code as u8)
        }
    }
}

async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Demo(demo) => Box::pin(demo.run(context.out)).await,
        Command::Serve(serve) => Box::pin(serve.run(context)).await,
        Command::Check(check) => check.run(context),
        Command::Send(send) => send.run(context).await,
        Command::Playbook(playbook) => playbook.run(context),
        Command::Case(case) => case.run(context).await,
        Command::Task(task) => task.run(context).await,
        Command::Buried(buried) => buried.run(context).await,
        Command::Reviewer(reviewer) => reviewer.run(context).await,
        Command::Token(token) => token.run(context).await,
        Command::Audit(audit) => audit.run(context).await,
        Command::Pause(pause) => pause.run(context).await,
        Command::Resume(resume) => resume.run(context).await,
        Command::Migrate(migrate) => migrate.run(context).await,
        Command::Healthz(healthz) => healthz.run(context).await,
        Command::Twin(twin) => Box::pin(twin.run(context)).await,
        Command::Bench(bench) => Box::pin(bench.run(context.out)).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_a_later_version_brings_is_absent_and_not_silently_accepted() {
        for line in [["oust", "openapi"], ["oust", "subscription"]] {
            assert!(Cli::try_parse_from(line).is_err(), "{line:?}");
        }
        assert!(Cli::try_parse_from(["oust", "serve", "--roles", "nobody"]).is_err());
        assert!(Cli::try_parse_from(["oust", "serve", "--roles", "receiver,worker,console,poller"]).is_ok());
    }
}
