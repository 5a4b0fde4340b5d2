/* The table of commands. Help, completion, the check of options, and the test of turnpike(1) all read it. */
#include "cli/cli.h"

#define SELECTOR                                                                                             \
    { "sender", "ADDRESS", NULL, "reverse-path: an address, @domain, or <> for reports" },                   \
        { "recipient", "ADDRESS", NULL, "recipient: an address or @domain" },                                \
        { "site", "SITE", NULL, "destination, as site list names it" },                                      \
        { "account", "NAME", NULL, "the account that submitted it" },                                        \
        { "older-than", "TIME", NULL, "queued longer than this: 90s, 5m, 4h, 2d" },                          \
        { "state", "STATE", "queued|held|active", "only recipients in this state" },                         \
    {                                                                                                        \
        "reply-match", "PATTERN", NULL, "PCRE2 pattern found in the last reply, without case"                \
    }
#define ACT                                                                                                  \
    SELECTOR, { "all", NULL, NULL, "everything in the queue" },                                              \
    {                                                                                                        \
        "dry-run", NULL, NULL, "only say what would be done"                                                 \
    }
#define PAGE(what)                                                                                           \
    { "limit", "N", NULL, "at most N " what " (default 100; 0: all)" },                                      \
    {                                                                                                        \
        "after", "PLACE", NULL, "go on where an earlier list ended"                                          \
    }
#define END                                                                                                  \
    {                                                                                                        \
        NULL, NULL, NULL, NULL                                                                               \
    }
#define PASSWORD                                                                                             \
    { "password-stdin", NULL, NULL, "read the password from standard input" },                               \
    {                                                                                                        \
        "password-file", "FILE", "@file", "read the password from the first line of FILE"                    \
    }
#define ACCOUNT                                                                                              \
    { "class", "CLASS", "person|device|bulk", "stream (default person)" },                                   \
        { "tenant", "NAME", NULL, "tenant (default: the name's domain)" },                                   \
        { "may-send-as", "ADDRESS", NULL,                                                                    \
          "another envelope sender: address, @domain or * (again for more)" },                               \
    {                                                                                                        \
        "disabled", NULL, NULL, "the account may not log in"                                                 \
    }

const struct cli_option cli_global_options[] = {
    { "json", NULL, NULL, "print JSON as the admin API gives it" },
    { "socket", "PATH", "@file", "the node's admin socket" },
    { "url", "URL", NULL, "the node's admin address instead: http://127.0.0.1:8025" },
    { "token-file", "FILE", "@file", "file with the token that --url needs" },
    { "help", NULL, NULL, "show help for the command" },
    END,
};

static const struct cli_option no_options[] = { END };
static const struct cli_option list_options[] = { SELECTOR, PAGE("recipients"), END };
static const struct cli_option cat_options[] = { { "headers", NULL, NULL, "only the header" }, END };
static const struct cli_option act_options[] = { ACT, END };
static const struct cli_option bounce_options[] = { ACT,
                                                    { "reason", "TEXT", NULL,
                                                      "what the sender is told, as \"5.7.1 text\"" },
                                                    { "yes", NULL, NULL, "do not ask" },
                                                    END };
static const struct cli_option delete_options[] = { ACT, { "yes", NULL, NULL, "do not ask" }, END };
static const struct cli_option summary_options[] = {
    SELECTOR,
    { "by", "WHAT", "site|sender|account|state|reply", "what makes a group (default site)" },
    { "limit", "N", NULL, "at most N groups (default 50)" },
    END,
};
static const struct cli_option track_options[] = {
    { "message-id", "ID", NULL, "Message-ID" },
    { "sender", "ADDRESS", NULL, "reverse-path: an address, @domain, or <>" },
    { "recipient", "ADDRESS", NULL, "an address or @domain" },
    { "account", "NAME", NULL, "the account that submitted it" },
    { "since", "TIME", NULL, "arrived since: 2026-01-31T12:00:00Z, or 2h for two hours ago" },
    { "until", "TIME", NULL, "arrived before; likewise" },
    PAGE("recipients"),
    END,
};
static const struct cli_option top_options[] = {
    { "once", NULL, NULL, "show it once (always so when the output is no terminal)" },
    { "interval", "TIME", NULL, "time between views (default 2s)" },
    { "limit", "N", NULL, "rows of each table (default 15)" },
    END,
};
#define TRACE                                                                                                \
    { "ip", "ADDRESS", NULL, "only this peer, or this prefix: 192.0.2.0/24" },                               \
        { "account", "NAME", NULL, "only this account's mail" },                                             \
        { "sessions", "N", NULL, "end after N sessions" },                                                   \
    {                                                                                                        \
        "for", "TIME", NULL, "end after this time (default 5m, at most 1h)"                                  \
    }
static const struct cli_option trace_client_options[] = { TRACE,
                                                          { "site", "SITE", NULL, "only this destination" },
                                                          END };
static const struct cli_option trace_server_options[] = { TRACE,
                                                          { "listener", "NAME", NULL, "only this listener" },
                                                          END };
static const struct cli_option probe_options[] = {
    { "from-ip", "ADDRESS", NULL, "source address (default: the one that mail would take)" },
    { "sender", "ADDRESS", NULL, "reverse-path (default <>)" },
    END,
};
static const struct cli_option site_options[] = {
    { "state", "STATE", "up|down|backoff", "only these" },
    PAGE("sites"),
    END,
};
static const struct cli_option account_list_options[] = { PAGE("accounts"), END };
static const struct cli_option account_add_options[] = { PASSWORD, ACCOUNT, END };
static const struct cli_option passwd_options[] = { PASSWORD, END };
static const struct cli_option remove_options[] = { { "yes", NULL, NULL, "do not ask" }, END };
static const struct cli_option import_options[] = {
    { "replace", NULL, NULL, "replace accounts that exist" },
    { "dry-run", NULL, NULL, "only read the file and say what is wrong in it" },
    END,
};

const struct cli_command cli_commands[] = {
    { "status", "", 0, 0, NULL, no_options, "show what the node does", NULL,
      "  turnpike status\n  turnpike status --json | jq .queue.messages\n", cmd_status },
    { "top", "", 0, 0, NULL, top_options, "show the busiest senders and destinations, live",
      "Rates are over the last minute. Ctrl-C ends it.", "  turnpike top\n  turnpike top --once --limit 5\n",
      cmd_top },

    { "queue list", "[ID...]", 0, -1, NULL, list_options, "list recipients in the queue",
      "What is given must all match.",
      "  turnpike queue list --site example.org\n"
      "  turnpike queue list --older-than 4h --reply-match 'grey|4\\.7\\.1'\n",
      cmd_queue_list },
    { "queue show", "ID", 1, 1, NULL, no_options, "show one message and its recipients", NULL,
      "  turnpike queue show 06A1B2C3D4E5F\n", cmd_queue_show },
    { "queue cat", "ID", 1, 1, NULL, cat_options, "print a message's content",
      "Reading people's mail is logged with who did it. On a terminal, control characters are escaped.",
      "  turnpike queue cat 06A1B2C3D4E5F --headers\n  turnpike queue cat 06A1B2C3D4E5F > message.eml\n",
      cmd_queue_cat },
    { "queue retry", "[ID...]", 0, -1, NULL, act_options, "try again now", NULL,
      "  turnpike queue retry --site example.org\n  turnpike queue retry --all\n", cmd_queue_retry },
    { "queue hold", "[ID...]", 0, -1, NULL, act_options, "keep back until released", NULL,
      "  turnpike queue hold --account anna@example.com\n", cmd_queue_hold },
    { "queue release", "[ID...]", 0, -1, NULL, act_options, "end a hold", NULL,
      "  turnpike queue release --state held --sender anna@example.com\n", cmd_queue_release },
    { "queue bounce", "[ID...]", 0, -1, NULL, bounce_options, "give up, and report to the sender",
      "Asks before it acts on a selection; a script gives --yes.",
      "  turnpike queue bounce --recipient bob@example.org --dry-run\n"
      "  turnpike queue bounce --site example.org --older-than 2d --reason '5.4.7 undeliverable' --yes\n",
      cmd_queue_bounce },
    { "queue delete", "[ID...]", 0, -1, NULL, delete_options, "give up, telling nobody",
      "Asks before it acts on a selection; a script gives --yes.",
      "  turnpike queue delete --account anna@example.com --reply-match spam --dry-run\n", cmd_queue_delete },
    { "queue summary", "", 0, 0, NULL, summary_options, "show the queue in groups, by age",
      "Columns are ages in minutes: how many recipients have waited so long.",
      "  turnpike queue summary\n  turnpike queue summary --by reply --limit 10\n", cmd_queue_summary },

    { "track", "[ID]", 0, 1, NULL, track_options, "show what became of a message",
      "Looks in the queue and in the history; newest first.",
      "  turnpike track --recipient bob@example.org --since 2d\n  turnpike track --message-id "
      "'<x@example.com>'\n",
      cmd_track },
    { "trace client", "", 0, 0, NULL, trace_client_options, "show our dialogue with next hops, live",
      "> is what we say, < what they say. Credentials are hidden.",
      "  turnpike trace client --site example.org --sessions 1\n", cmd_trace_client },
    { "trace server", "", 0, 0, NULL, trace_server_options, "show clients' dialogue with us, live",
      "> is what we say, < what they say. Credentials are hidden.",
      "  turnpike trace server --ip 192.0.2.0/24 --for 10m\n", cmd_trace_server },
    { "probe", "RECIPIENT", 1, 1, NULL, probe_options, "ask a next hop whether it takes a recipient",
      "Speaks up to RCPT TO, then QUIT: nothing is sent.",
      "  turnpike probe bob@example.org --from-ip 192.0.2.1\n", cmd_probe },
    { "ip check", "[ADDRESS]", 0, 1, NULL, no_options, "check the names of the source addresses",
      "For each: the PTR record must be the name that we greet with, and that name must lead back to the "
      "address.",
      "  turnpike ip check\n", cmd_ip_check },
    { "site list", "", 0, 0, NULL, site_options, "list destinations", NULL,
      "  turnpike site list --state down\n", cmd_site_list },

    { "account add", "NAME", 1, 1, NULL, account_add_options, "make an account",
      "The password is asked for twice, or read as told; never taken from the command line.",
      "  turnpike account add anna@example.com\n"
      "  pass show mail/scanner | turnpike account add scanner@example.com --class device --password-stdin\n",
      cmd_account_add },
    { "account passwd", "NAME", 1, 1, NULL, passwd_options, "set an account's password", NULL,
      "  turnpike account passwd anna@example.com\n", cmd_account_passwd },
    { "account list", "", 0, 0, NULL, account_list_options, "list accounts", NULL,
      "  turnpike account list --limit 0\n", cmd_account_list },
    { "account remove", "NAME", 1, 1, NULL, remove_options, "remove an account",
      "Mail that it has queued stays queued.", "  turnpike account remove anna@example.com --yes\n",
      cmd_account_remove },
    { "account import", "FILE", 1, 1, "@file", import_options, "make many accounts",
      "FILE (- for standard input) has one account per line: either NAME:HASH[:CLASS[:TENANT[:OPTIONS]]] "
      "with a "
      "crypt(5) hash, as in an accounts file or a Dovecot passwd-file, {PLAIN}password in place of the hash; "
      "or a JSON "
      "object as POST /v1/accounts/add takes it. Empty lines and lines that begin with # are skipped.",
      "  turnpike account import users.txt\n", cmd_account_import },

    { "config show", "", 0, 0, NULL, no_options, "show the configuration in force", "Secrets are hidden.",
      "  turnpike config show\n", cmd_config_show },
    { "config check", "[FILE]", 0, 1, "@file", no_options, "check a configuration file",
      "With FILE no node is needed: it runs turnpiked --check FILE. Without, the running node checks the "
      "file that it "
      "would reload.",
      "  turnpike config check /etc/turnpike/node.yaml && turnpike reload\n", cmd_config_check },
    { "reload", "", 0, 0, NULL, no_options, "read configuration, certificates and accounts again",
      "No connection is dropped. A wrong file changes nothing.", "  turnpike reload\n", cmd_reload },
    { "log level", "[LEVEL]", 0, 1, "error|warn|info|debug", no_options, "show or set the log's level",
      "Until the next restart or reload.", "  turnpike log level debug\n", cmd_log },
    { "spool verify", "DIR", 1, 1, "@dir", no_options, "check a stopped node's spool",
      "Changes nothing. It runs turnpiked --verify-spool DIR.",
      "  turnpike spool verify /var/lib/turnpike/spool\n", cmd_spool_verify },

    { "completion", "SHELL", 1, 1, "bash|zsh|fish", no_options, "print shell completion", NULL,
      "  turnpike completion bash > /etc/bash_completion.d/turnpike\n"
      "  turnpike completion zsh > \"${fpath[1]}/_turnpike\"\n"
      "  turnpike completion fish > ~/.config/fish/completions/turnpike.fish\n",
      cmd_completion },
    { "version", "", 0, 0, NULL, no_options, "show the version of this program", NULL, "  turnpike version\n",
      cmd_version },
    { "help", "[COMMAND]", 0, 2, NULL, no_options, "show help", NULL, "  turnpike help queue bounce\n",
      cmd_help },
};
const size_t cli_ncommands = sizeof(cli_commands) / sizeof(cli_commands[0]);
