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
#define SCOPE                                                                                                \
    { "cluster", NULL, NULL, "of all nodes" },                                                               \
    {                                                                                                        \
        "local", NULL, NULL, "of this node only"                                                             \
    }
#define TENANT                                                                                               \
    {                                                                                                        \
        "tenant", "NAME", NULL, "a tenant as a whole, in place of an account"                                \
    }
#define NOTE                                                                                                 \
    {                                                                                                        \
        "note", "TEXT", NULL, "a remark"                                                                     \
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

#define DKIM_USE                                                                                             \
    { "not-before", "DATE", NULL, "it signs from then on (UTC)" },                                           \
        { "not-after", "DATE", NULL, "it signs until then (UTC)" },                                          \
        { "subdomains", NULL, NULL, "also for names below the domain" },                                     \
    {                                                                                                        \
        "tenants", "NAMES", NULL, "only these tenants' mail, with blanks between"                            \
    }
static const struct cli_option dkim_generate_options[] = {
    { "selector", "NAME", NULL, "the key's name: its record is NAME._domainkey.DOMAIN" },
    { "type", "TYPE", "rsa|ed25519", "what kind of key (default rsa)" },
    { "bits", "N", NULL, "of an RSA key (default 2048)" },
    { "out", "FILE", "@file", "where the key goes; it must not be there" },
    { "cluster", NULL, NULL, "all nodes get it, encrypted; no file" },
    DKIM_USE,
    END,
};
static const struct cli_option dkim_import_options[] = {
    { "selector", "NAME", NULL, "the key's name: its record is NAME._domainkey.DOMAIN" },
    DKIM_USE,
    END,
};
static const struct cli_option dkim_retire_options[] = {
    { "selector", "NAME", NULL, "which key" },
    { "not-after", "DATE", NULL, "it signs until then (UTC; default now)" },
    END,
};
static const struct cli_option dkim_remove_options[] = { { "selector", "NAME", NULL, "which key" }, END };
static const struct cli_option dkim_list_options[] = { PAGE("keys"), END };
static const struct cli_option dkim_rekey_options[] = {
    { "lost", NULL, NULL, "no node has the key in force: what it encrypted stays closed" },
    END,
};
#define DKIM_CONFIG                                                                                          \
    {                                                                                                        \
        "config", "FILE", "@file", "the node's file (default /etc/turnpike/node.yaml)"                       \
    }
static const struct cli_option dkim_dns_options[] = {
    { "selector", "NAME", NULL, "only this key of the domain" },
    DKIM_CONFIG,
    END,
};
static const struct cli_option dkim_check_options[] = {
    { "selector", "NAME", NULL, "only this record" },
    { "key", "FILE", "@file", "compare with this key, not with the node's" },
    DKIM_CONFIG,
    END,
};
static const struct cli_option no_options[] = { END };
static const struct cli_option list_options[] = { SELECTOR, PAGE("recipients"), SCOPE, END };
static const struct cli_option cat_options[] = { { "headers", NULL, NULL, "only the header" }, END };
static const struct cli_option act_options[] = { ACT, END };
static const struct cli_option move_options[] = {
    SELECTOR,
    { "all", NULL, NULL, "everything in the queue" },
    { "dry-run", NULL, NULL, "count only" },
    { "to", "NODE", NULL, "the node that gets them" },
    END,
};
static const struct cli_option adopt_options[] = { { "node", "NAME", NULL, "whose it was; it has been removed" },
                                                   { "yes", NULL, NULL, "do not ask" },
                                                   END };
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
    SCOPE,
    END,
};
static const struct cli_option track_options[] = {
    { "message-id", "ID", NULL, "Message-ID" },
    { "sender", "ADDRESS", NULL, "reverse-path: an address, @domain, or <>" },
    { "recipient", "ADDRESS", NULL, "an address or @domain" },
    { "from", "ADDRESS", NULL, "the same as --sender" },
    { "to", "ADDRESS", NULL, "the same as --recipient" },
    { "account", "NAME", NULL, "the account that submitted it" },
    { "status", "STATE", NULL, "bounced, delivered, relayed, expired, deleted, queued, ..." },
    { "since", "TIME", NULL, "arrived since: 2026-01-31T12:00:00Z, or 2h for two hours ago" },
    { "until", "TIME", NULL, "arrived before; likewise" },
    { "steps", NULL, NULL, "each attempt, hold and move before; so by itself with ID or --message-id" },
    PAGE("recipients"),
    SCOPE,
    END,
};
static const struct cli_option top_options[] = {
    { "once", NULL, NULL, "show it once (always so when the output is no terminal)" },
    { "interval", "TIME", NULL, "time between views (default 2s)" },
    { "limit", "N", NULL, "rows of each table (default 15)" },
    { "cluster", NULL, NULL, "of all nodes together" },
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
static const struct cli_option domain_options[] = {
    { "pool", "NAME", NULL, "only this pool's addresses (default: all that mail leaves from)" },
    { "ip", "ADDRESS", NULL, "this address instead (again for more)" },
    { "return-path", "DOMAIN", NULL, "the domain of MAIL FROM, if it is another" },
    { "selector", "NAME", NULL, "this DKIM selector (default: of the keys that sign here; again for more)" },
    END,
};
static const struct cli_option site_backoff_options[] = {
    { "for", "TIME", NULL, "how long (default: 30m)" },
    { "suspend", NULL, NULL, "nothing is sent to it" },
    { "source", "ADDRESS", NULL, "nothing is sent to it from this source address" },
    END,
};
static const struct cli_option site_resume_options[] = {
    { "source", "ADDRESS", NULL, "only what is in force against this source address" },
    END,
};
static const struct cli_option status_options[] = {
    { "cluster", NULL, NULL, "a line for each node of the cluster" },
    END,
};
static const struct cli_option account_set_options[] = {
    ACCOUNT,
    { "enabled", NULL, NULL, "the account may log in again" },
    { "no-other-senders", NULL, NULL, "it may send as its own name only" },
    END,
};
static const struct cli_option freeze_options[] = {
    TENANT,
    { "mode", "MODE", "auto|reject|defer|hold", "what happens to new mail (default: the policy's)" },
    { "for", "TIME", NULL, "ends by itself: 90s, 5m, 2h, 7d (default: until thawed)" },
    { "reason", "TEXT", NULL, "for the audit trail, and for who looks at frozen" },
    { "local", NULL, NULL, "on this node only, at once and without a majority" },
    END,
};
static const struct cli_option thaw_options[] = {
    TENANT,
    { "freeze", "ID", NULL, "only this freeze, not one that was made since" },
    { "local", NULL, NULL, "end a freeze --local of this node" },
    END,
};
static const struct cli_option frozen_options[] = { PAGE("senders"), END };
static const struct cli_option tenant_list_options[] = { PAGE("tenants"), END };
static const struct cli_option noted_options[] = { NOTE, END };
static const struct cli_option secret_list_options[] = { PAGE("secrets"), END };
static const struct cli_option secret_new_options[] = {
    { "name", "NAME", NULL, "what it is called (default: the time)" }, END
};
static const struct cli_option secret_import_options[] = {
    { "name", "NAME", NULL, "what it is called (default: the time)" },
    { "policy", NULL, NULL, "that of the policy in force: bounces.key" },
    END,
};
static const struct cli_option suppression_list_options[] = {
    { "tenant", "NAME", NULL, "of this tenant only" }, PAGE("addresses"), END
};
static const struct cli_option suppression_add_options[] = {
    { "tenant", "NAME", NULL, "by this tenant (default: by accounts without one)" },
    { "for", "DURATION", NULL, "so long (default: until removed)" },
    { "reason", "TEXT", NULL, "a remark" },
    END,
};
static const struct cli_option suppression_remove_options[] = {
    { "tenant", "NAME", NULL, "by this tenant (default: by accounts without one)" }, END
};
static const struct cli_option sender_pin_options[] = {
    { "reason", "TEXT", NULL, "a remark, for the audit trail" }, END
};
static const struct cli_option sender_top_options[] = {
    { "by", "WHAT", "bounces|complaints|deferred|delivered", "the most of these first" },
    { "window", "WINDOW", "1h|24h|7d", "counted within (default 24h)" },
    { "limit", "N", NULL, "at most so many (default 20)" },
    END,
};
static const struct cli_option ip_warm_options[] = {
    { "site", "NAME", NULL, "with step: of this destination" },
    { "step", "N", NULL, "with step: where it stands, 0 being the first day" },
    END,
};
static const struct cli_option limit_options[] = { TENANT, END };
static const struct cli_option cluster_init_options[] = {
    { "name", "NAME", NULL, "this node's name (default: the configured one)" },
    END,
};
static const struct cli_option cluster_status_options[] = {
    { "check", NULL, NULL, "exit with 1 unless healthy" },
    END,
};
static const struct cli_option token_options[] = {
    { "for", "TIME", NULL, "the token is good so long (default 1h, at most 7d)" },
    { "name", "NAME", NULL, "only for the node of this name" },
    END,
};
static const struct cli_option drain_options[] = { { "undo", NULL, NULL, "take new mail again" }, END };
static const struct cli_option leave_options[] = {
    { "timeout", "TIME", NULL, "wait so long (default 1h)" },
    { "yes", NULL, NULL, "do not ask" },
    END,
};
static const struct cli_option assign_options[] = {
    { "class", "CLASS", "person|device|bulk", "mail of this class" },
    { "tenant", "NAME", NULL, "mail of this tenant" },
    { "account", "NAME", NULL, "mail of this account" },
    END,
};
#define IP                                                                                                   \
    { "pool", "NAME", NULL, "the pool that it belongs to" },                                                 \
        { "ehlo", "HOST", NULL, "the name to greet with (default: the node's)" },                            \
    {                                                                                                        \
        "weight", "N", NULL, "its share of the pool's mail (default 100)"                                    \
    }
static const struct cli_option ip_add_options[] = {
    IP,
    { "node", "NAME", NULL, "the node that has the address" },
    END,
};
static const struct cli_option ip_set_options[] = {
    IP,
    { "use", "USE", "used|drained|disabled", "drained: no new connections; disabled: none at all" },
    END,
};
static const struct cli_option ip_move_options[] = {
    { "dead", NULL, NULL, "its owner's machine is off for sure" },
    END,
};
static const struct cli_option pool_float_options[] = {
    { "after", "TIME", NULL, "automatic: so long after their node was lost (default 30s)" },
    { "per-node", "N", NULL, "automatic: so many of the pool's on one node at most" },
    { "nodes", "NAMES", NULL, "automatic: to these nodes before others; with commas" },
    { "return", NULL, NULL, "automatic: back when their node has been there again for so long" },
    END,
};
static const struct cli_option policy_show_options[] = {
    { "version", "N", NULL, "an earlier one, as policy history lists it" },
    END,
};
static const struct cli_option policy_test_reply_options[] = {
    { "stage", "STAGE", "banner|mail|rcpt|data|dot|any", "what it answered (default: each of them)" },
    { "mx", "HOST", NULL, "host name of the server" },
    { "pool", "POOL", NULL, "pool of source addresses" },
    { "file", "FILE", "@file", "by this policy instead of the one in force; - for the built-in one" },
    END,
};
static const struct cli_option policy_apply_options[] = {
    NOTE,
    { "version", "N", NULL, "only if this one is in force (default: the one that is now)" },
    END,
};
static const struct cli_option audit_options[] = { PAGE("entries"), END };
static const struct cli_option account_list_options[] = { PAGE("accounts"), END };
static const struct cli_option account_add_options[] = { PASSWORD, ACCOUNT, END };
static const struct cli_option passwd_options[] = { PASSWORD, END };
static const struct cli_option remove_options[] = { { "yes", NULL, NULL, "do not ask" }, END };
static const struct cli_option import_options[] = {
    { "replace", NULL, NULL, "replace accounts that exist" },
    { "dry-run", NULL, NULL, "only read the file and say what is wrong in it" },
    END,
};

static const struct cli_option restore_options[] = {
    { "config", "FILE", "@file", "the node's configuration (default /etc/turnpike/node.yaml)" },
    END,
};
static const struct cli_option recover_options[] = {
    { "config", "FILE", "@file", "the node's configuration (default /etc/turnpike/node.yaml)" },
    { "inspect", NULL, NULL, "only say what this node has" },
    { "yes", NULL, NULL, "do not ask" },
    END,
};

const struct cli_command cli_commands[] = {
    { "status", "", 0, 0, NULL, status_options, "show what the node does", NULL,
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
    { "queue move", "[ID...]", 0, -1, NULL, move_options, "hand messages to another node",
      "They go as whole messages, when they are in no transaction; held ones stay held.",
      "  turnpike queue move --to node-b --site example.net\n", cmd_queue_move },
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
      "Looks in the queue and in the history; newest first. Says which node did not answer, and since when what\n"
      "ended is kept.",
      "  turnpike track --to bob@example.org --since 2d\n  turnpike track --message-id '<x@example.com>'\n", cmd_track },
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
    { "domain check", "DOMAIN", 1, 1, NULL, domain_options, "check what the DNS says of a sender's domain",
      "SPF for each address that mail leaves from, DKIM keys, DMARC, alignment, and where bounces go. Fails if "
      "something is wrong, and says what to do.",
      "  turnpike domain check example.com --selector s2026\n"
      "  turnpike domain check example.com --pool bulk --return-path bounce.example.com\n",
      cmd_domain_check },
    { "site list", "", 0, 0, NULL, site_options, "list destinations", NULL,
      "  turnpike site list --state down\n", cmd_site_list },
    { "site show", "[SITE]", 0, 1, NULL, no_options, "show what is in force against destinations, and why",
      "By rules about replies, or by an operator. SITE as site list names it: with its pool in front.",
      "  turnpike site show\n  turnpike site show newsletters/example.org\n", cmd_site_show },
    { "site backoff", "SITE", 1, 1, NULL, site_backoff_options, "send to a destination slowly for a while",
      "On all nodes that can be told. With --suspend not at all, with --source not from that address.",
      "  turnpike site backoff example.org --for 2h\n"
      "  turnpike site backoff newsletters/example.org --source 192.0.2.1 --for 1d\n",
      cmd_site_backoff },
    { "site resume", "SITE", 1, 1, NULL, site_resume_options, "end what is in force against a destination",
      "On all nodes that can be told.", "  turnpike site resume example.org\n", cmd_site_resume },

    { "account add", "NAME", 1, 1, NULL, account_add_options, "make an account",
      "The password is asked for twice, or read as told; never taken from the command line.",
      "  turnpike account add anna@example.com\n"
      "  pass show mail/scanner | turnpike account add scanner@example.com --class device --password-stdin\n",
      cmd_account_add },
    { "account passwd", "NAME", 1, 1, NULL, passwd_options, "set an account's password", NULL,
      "  turnpike account passwd anna@example.com\n", cmd_account_passwd },
    { "account set", "NAME", 1, 1, NULL, account_set_options, "change an account",
      "What is not given stays as it is. --may-send-as replaces the whole list.",
      "  turnpike account set news@example.com --class bulk\n  turnpike account set anna@example.com "
      "--disabled\n",
      cmd_account_set },
    { "account show", "NAME", 1, 1, NULL, no_options, "show an account", NULL,
      "  turnpike account show anna@example.com\n", cmd_account_show },
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

    { "freeze", "[SENDER]", 0, 1, NULL, freeze_options, "stop a sender on all nodes",
      "SENDER is an account, or @TENANT. Returns when every node obeys it, or can no longer accept mail, and "
      "says which "
      "node did what: what it then says, holds.",
      "  turnpike freeze anna@example.com --for 2h --reason 'stolen password'\n"
      "  turnpike freeze @example.org --mode hold\n",
      cmd_freeze },
    { "thaw", "[SENDER]", 0, 1, NULL, thaw_options, "let a frozen sender go on", NULL,
      "  turnpike thaw anna@example.com\n", cmd_thaw },
    { "frozen", "", 0, 0, NULL, frozen_options, "list who is frozen", NULL, "  turnpike frozen --json\n",
      cmd_frozen },
    { "limit show", "[SENDER]", 0, 1, NULL, limit_options,
      "show a sender's limits and how much of each is used",
      "SENDER is an account, or @TENANT. HELD is in the hands of nodes and comes back if it is not spent; "
      "BURNED was lost "
      "with a node that ended, and counts until it leaves the window.",
      "  turnpike limit show anna@example.com\n", cmd_limit_show },
    { "limit set", "SENDER LIMIT COUNT", 2, 3, NULL, limit_options, "give a sender another count for a limit",
      "With --tenant SENDER is left away.", "  turnpike limit set anna@example.com account-hour 1000\n",
      cmd_limit_set },
    { "limit clear", "SENDER LIMIT", 1, 2, NULL, limit_options, "go back to the policy's count",
      "With --tenant SENDER is left away.", "  turnpike limit clear anna@example.com account-hour\n",
      cmd_limit_clear },
    { "limit reopen", "", 0, 0, NULL, remove_options, "let limits count what is known, after a recovery",
      "When a new epoch of the cluster begins (cluster recover, cluster restore), all limits count as full "
      "until "
      "their windows have passed, since nobody knows what was used. This ends that.",
      "  turnpike limit reopen --yes\n", cmd_limit_reopen },
    { "tenant list", "", 0, 0, NULL, tenant_list_options, "list tenants", NULL, "  turnpike tenant list\n",
      cmd_tenant_list },
    { "tenant set", "NAME", 1, 1, NULL, noted_options, "make or change a tenant", NULL,
      "  turnpike tenant set example.org --note 'contract 4711'\n", cmd_tenant_set },
    { "tenant remove", "NAME", 1, 1, NULL, no_options, "remove a tenant", NULL,
      "  turnpike tenant remove example.org\n", cmd_tenant_remove },
    { "secret list", "", 0, 0, NULL, secret_list_options, "list the cluster's random secrets",
      "What they are for and since when; nothing shows the secrets themselves.", "  turnpike secret list\n",
      cmd_secret_list },
    { "secret new", "USE", 1, 1, "bounces|domains|srs", secret_new_options, "make another secret of the cluster",
      "For bounces (return paths), domains (challenges) or srs (return paths of forwarded mail). The newest makes,\n"
      "all are believed; at most 4 of each.",
      "  turnpike secret new srs\n", cmd_secret_new },
    { "secret import", "USE [FILE]", 1, 2, NULL, secret_import_options,
      "give a secret to all nodes of the cluster",
      "16 to 128 characters in a file, or with --policy those that the policy in force has as bounces.key.",
      "  turnpike secret import bounces --policy\n  turnpike secret import srs /root/srs.secret --name old\n",
      cmd_secret_import },
    { "secret remove", "USE NAME", 2, 2, NULL, no_options, "believe no more what a secret made", NULL,
      "  turnpike secret remove srs 20261122-140311.042\n", cmd_secret_remove },
    { "suppression list", "", 0, 0, NULL, suppression_list_options, "list addresses that are not sent to", NULL,
      "  turnpike suppression list --tenant example.org\n", cmd_suppression_list },
    { "suppression add", "ADDRESS", 1, 1, NULL, suppression_add_options, "send no more to an address",
      "Mail of the classes that the policy says (suppression.classes) is refused at RCPT, on every node.",
      "  turnpike suppression add bob@example.com --tenant example.org --reason 'asked us by phone'\n",
      cmd_suppression_add },
    { "suppression remove", "ADDRESS", 1, 1, NULL, suppression_remove_options, "send to an address again", NULL,
      "  turnpike suppression remove bob@example.com --tenant example.org\n", cmd_suppression_remove },
    { "sender show", "ACCOUNT", 1, 1, NULL, no_options, "show what was seen of a sender, and what rules make of it", NULL,
      "  turnpike sender show anna@example.com\n", cmd_sender_show },
    { "sender bounces", "ACCOUNT", 1, 1, NULL, no_options, "show what became of a sender's mail",
      "The standing, and of all nodes together, within the last hour, day and week: recipients, and for DEFERRED attempts.",
      "  turnpike sender bounces news@example.com\n", cmd_sender_bounces },
    { "sender pin", "ACCOUNT TIER", 2, 2, NULL, sender_pin_options, "say what a sender's standing is",
      "TIER is good, neutral or poor; auto ends it, and the policy (reputation) judges again.",
      "  turnpike sender pin news@example.com good --reason 'list was cleaned'\n", cmd_sender_pin },
    { "sender top", "", 0, 0, NULL, sender_top_options, "show the senders with the most bounces", NULL,
      "  turnpike sender top --by complaints --window 7d\n", cmd_sender_top },

    { "pool list", "", 0, 0, NULL, no_options, "list pools of source addresses", NULL,
      "  turnpike pool list\n", cmd_pool_list },
    { "pool add", "NAME", 1, 1, NULL, noted_options, "make a pool", NULL, "  turnpike pool add newsletters\n",
      cmd_pool_add },
    { "pool remove", "NAME", 1, 1, NULL, no_options, "remove a pool", NULL,
      "  turnpike pool remove newsletters\n", cmd_pool_remove },
    { "pool assign", "POOL", 1, 1, NULL, assign_options,
      "send a class's, tenant's or account's mail from a pool",
      "An account's pool is stronger than its tenant's, and that than its class's.",
      "  turnpike pool assign newsletters --class bulk\n", cmd_pool_assign },
    { "pool unassign", "", 0, 0, NULL, assign_options, "undo pool assign", NULL,
      "  turnpike pool unassign --account news@example.com\n", cmd_pool_unassign },
    { "pool float", "POOL MODE", 2, 2, NULL, pool_float_options, "whether a pool's addresses go to other nodes",
      "MODE is never (they are bound to their machines), operator (ip move says when) or automatic.",
      "  turnpike pool float newsletters automatic --after 1m --per-node 4\n", cmd_pool_float },
    { "ip list", "", 0, 0, NULL, no_options, "list the cluster's source addresses", NULL,
      "  turnpike ip list\n", cmd_ip_list },
    { "ip add", "ADDRESS", 1, 1, NULL, ip_add_options, "add a source address", NULL,
      "  turnpike ip add 192.0.2.1 --pool newsletters --node node-a --ehlo out1.example.com\n", cmd_ip_add },
    { "ip set", "ADDRESS", 1, 1, NULL, ip_set_options, "change a source address", NULL,
      "  turnpike ip set 192.0.2.1 --use drained\n", cmd_ip_set },
    { "ip move", "ADDRESS NODE", 2, 2, NULL, ip_move_options, "give a source address to another node",
      "The owner lets go of it first, or its session ends; so two nodes never send from it at once.",
      "  turnpike ip move 192.0.2.1 node-b\n", cmd_ip_move },
    { "ip warm", "ADDRESS start|stop|show|step", 2, 2, NULL, ip_warm_options, "warm a new source address up",
      "So many messages a day to each site, more from day to day, as the policy says (warmup); kept to by the whole "
      "cluster. What is over goes out from addresses of the pool that are warm.",
      "  turnpike ip warm 192.0.2.1 start\n  turnpike ip warm 192.0.2.1 show\n"
      "  turnpike ip warm 192.0.2.1 step --site example.com --step 3\n",
      cmd_ip_warm },
    { "ip remove", "ADDRESS", 1, 1, NULL, no_options, "remove a source address", NULL,
      "  turnpike ip remove 192.0.2.1\n", cmd_ip_remove },

    { "dkim generate", "DOMAIN", 1, 1, NULL, dkim_generate_options, "make a key that signs mail",
      "In a file, which gets mode 0600 (it runs turnpiked --dkim), or with --cluster for all nodes. Prints the key's DNS\n"
      "record.",
      "  turnpike dkim generate example.com --selector s2026 --out /etc/turnpike/dkim/example.com.pem\n"
      "  turnpike dkim generate example.com --selector e2026 --type ed25519 --out e2026.pem\n"
      "  turnpike dkim generate example.com --selector s2027 --cluster --not-before 2027-01-01\n",
      cmd_dkim_generate },
    { "dkim import", "DOMAIN FILE", 2, 2, "@file", dkim_import_options, "give a key to all nodes of the cluster",
      "The node encrypts it before it goes to others. The file can be removed then.",
      "  turnpike dkim import example.com s2026.pem --selector s2026\n", cmd_dkim_import },
    { "dkim list", "[DOMAIN]", 0, 1, NULL, dkim_list_options, "list the cluster's keys",
      "Those of node files are not in it. With --json: their DNS records too.", "  turnpike dkim list example.com\n",
      cmd_dkim_list },
    { "dkim retire", "DOMAIN", 1, 1, NULL, dkim_retire_options, "let a key of the cluster sign no more",
      "Leave its record in the DNS until the mail that it has signed has arrived.",
      "  turnpike dkim retire example.com --selector s2026 --not-after 2027-01-01\n", cmd_dkim_retire },
    { "dkim remove", "DOMAIN", 1, 1, NULL, dkim_remove_options, "remove a key of the cluster", NULL,
      "  turnpike dkim remove example.com --selector s2026\n", cmd_dkim_remove },
    { "dkim rekey", "", 0, 0, NULL, dkim_rekey_options, "encrypt the cluster's secrets with a new key",
      "After a node was removed that had the one before, or a copy of it was lost.", "  turnpike dkim rekey\n",
      cmd_dkim_rekey },
    { "dkim dns", "FILE|DOMAIN", 1, 1, "@file", dkim_dns_options, "print the DNS record of a key",
      "Of a key file, or of all keys that the node's file has for a domain.",
      "  turnpike dkim dns example.com\n  turnpike dkim dns ./e2026.pem\n", cmd_dkim_dns },
    { "dkim check", "DOMAIN", 1, 1, NULL, dkim_check_options, "compare DNS records with keys",
      "Looks up the records of the node's keys for the domain, or the one that --selector names. Each is said to match, to be\n"
      "missing, to differ, to be revoked, too short or broken.",
      "  turnpike dkim check example.com\n  turnpike dkim check example.com --selector s2026 --key s2026.pem\n",
      cmd_dkim_check },

    { "policy show", "", 0, 0, NULL, policy_show_options, "print the policy",
      "As it was applied: a file to edit.", "  turnpike policy show > policy.yaml\n", cmd_policy_show },
    { "policy check", "FILE", 1, 1, "@file", no_options, "check a policy file, without a node",
      "It runs turnpiked --check-policy FILE.", "  turnpike policy check policy.yaml\n", cmd_policy_check },
    { "policy diff", "FILE", 1, 1, "@file", no_options, "show what a policy would change",
      "FILE is - for standard input.", "  turnpike policy diff policy.yaml\n", cmd_policy_diff },
    { "policy apply", "FILE", 1, 1, "@file", policy_apply_options, "put a policy in force on all nodes",
      "FILE is - for standard input. A wrong one changes nothing, and every fault in it is told.",
      "  turnpike policy apply policy.yaml --note 'new limits for bulk'\n", cmd_policy_apply },
    { "policy test-reply", "SITE TEXT", 2, 2, NULL, policy_test_reply_options,
      "say which rule a server's reply meets, and what would be done",
      "TEXT is the whole reply, with its code. With --file no node is asked: it runs turnpiked.",
      "  turnpike policy test-reply example.org '421 4.7.0 too many connections' --stage banner\n"
      "  turnpike policy test-reply gmail.com '421 4.7.28 rate limited' --mx gmail-smtp-in.l.google.com\n",
      cmd_policy_test_reply },
    { "policy history", "", 0, 0, NULL, no_options, "list the policies that are kept", NULL,
      "  turnpike policy history\n", cmd_policy_history },
    { "policy rollback", "VERSION", 1, 1, NULL, no_options, "put an earlier policy in force again", NULL,
      "  turnpike policy rollback 1280\n", cmd_policy_rollback },

    { "cluster init", "", 0, 0, NULL, cluster_init_options, "make a cluster, with this node as its first",
      NULL, "  turnpike cluster init\n", cmd_cluster_init },
    { "cluster status", "", 0, 0, NULL, cluster_status_options,
      "show what is wrong with the cluster, and its nodes",
      "The first line is \"healthy\", or the most important thing that is wrong.",
      "  turnpike cluster status\n  turnpike cluster status --check > /dev/null || page-somebody\n",
      cmd_cluster_status },
    { "cluster backup", "FILE", 1, 1, "@file", no_options, "save the cluster's state to a file",
      "Accounts, policy, pools, counters, frozen senders; not mail. Any node will do.",
      "  turnpike cluster backup /var/backups/turnpike-$(date +%F)\n", cmd_cluster_backup },
    { "cluster restore", "FILE", 1, 1, "@file", restore_options, "make a cluster of one node from a backup",
      "On a stopped node that is no member, under the name of one that was. All limits count as full at "
      "first.",
      "  turnpike cluster restore /var/backups/turnpike-2026-11-21\n", cmd_cluster_restore },
    { "cluster recover", "", 0, 0, NULL, recover_options,
      "after a majority was lost for good, go on with this node's state",
      "On a stopped node. All other nodes are removed, their certificates are worth nothing any more, and "
      "they "
      "may join anew, emptied. All limits count as full at first.",
      "  turnpike cluster recover --inspect\n  turnpike cluster recover --yes\n", cmd_cluster_recover },
    { "cluster raise", "[LEVEL]", 0, 1, NULL, no_options, "put new features in force after an upgrade",
      "Without LEVEL: the highest that every node can do. There is no way back.",
      "  turnpike cluster raise\n", cmd_cluster_raise },
    { "node list", "", 0, 0, NULL, no_options, "list the nodes, with their addresses", NULL,
      "  turnpike node list\n", cmd_node_list },
    { "node token", "", 0, 0, NULL, token_options, "print a token with which one node can join",
      "It is a secret.", "  turnpike node token --name node-b > token\n", cmd_node_token },
    { "node join", "FILE", 1, 1, "@file", no_options, "have this node join a cluster",
      "FILE holds the token; - for standard input.",
      "  ssh node-a turnpike node token | turnpike node join -\n", cmd_node_join },
    { "node drain", "", 0, 0, NULL, drain_options, "have this node take no new mail",
      "What it has, it hands over to the other nodes, and delivers until then. Its health endpoint says that it "
      "drains.",
      "  turnpike node drain\n",
      cmd_node_drain },
    { "node leave", "", 0, 0, NULL, leave_options, "hand over this node's mail and leave the cluster",
      "May be ended and repeated: what was handed over is gone, the rest is still here.",
      "  turnpike node leave --yes\n", cmd_node_leave },
    { "node remove", "NAME", 1, 1, NULL, remove_options, "remove a node that will not come back",
      "Says what is lost. One that lives is to leave by itself.", "  turnpike node remove node-c\n",
      cmd_node_remove },
    { "node promote", "NAME", 1, 1, NULL, no_options, "make a node a voter", NULL,
      "  turnpike node promote node-d\n", cmd_node_promote },
    { "node demote", "NAME", 1, 1, NULL, no_options, "make a node a standby", NULL,
      "  turnpike node demote node-d\n", cmd_node_demote },
    { "node address", "NAME RAFT GOSSIP", 3, 3, NULL, no_options, "say where a node is reached",
      "For a node that has moved while its old addresses are dead. One that is heard says it itself, when its "
      "configuration is changed.",
      "  turnpike node address node-c 192.0.2.7:7301 192.0.2.7:7302\n", cmd_node_address },
    { "transfer list", "", 0, 0, NULL, no_options, "list mail that is on its way between nodes",
      "Also when the cluster has no majority: what is in doubt then stays so until it has one.",
      "  turnpike transfer list\n", cmd_transfer_list },
    { "transfer cancel", "BATCH", 1, 1, NULL, no_options, "keep a batch that this node gives away",
      "The cluster decides: what is the other node's already stays there.",
      "  turnpike transfer cancel 4fd1c5e2a0b94c0f8e6a7d1b2c3f4a5b\n", cmd_transfer_cancel },
    { "transfer take", "BATCH", 1, 1, NULL, no_options, "take a batch whose giver was removed",
      "On the node that it was sent to, when all of it came.",
      "  turnpike transfer take 4fd1c5e2a0b94c0f8e6a7d1b2c3f4a5b\n", cmd_transfer_take },
    { "transfer forget", "NODE", 1, 1, NULL, no_options, "end the batches of a removed node",
      "When its disk will not be adopted (any more): the cluster keeps them for that. spool adopt does it by itself.",
      "  turnpike transfer forget node-c\n", cmd_transfer_forget },
    { "spool adopt", "DIR", 1, 1, "@dir", adopt_options, "take in the mail of a dead node from its disk",
      "The node was removed, and DIR is its spool directory on this machine. May be repeated: nothing is taken "
      "twice.",
      "  turnpike spool adopt --node node-c /mnt/node-c/spool\n", cmd_spool_adopt },
    { "audit", "", 0, 0, NULL, audit_options, "list what operators did, newest first", NULL,
      "  turnpike audit --limit 20\n", cmd_audit },

    { "config show", "", 0, 0, NULL, no_options, "show the configuration in force", "Secrets are hidden.",
      "  turnpike config show\n", cmd_config_show },
    { "config check", "[FILE]", 0, 1, "@file", no_options, "check a configuration file",
      "With FILE no node is needed: it runs turnpiked --check FILE. Without, the running node checks the "
      "file that it "
      "would reload.",
      "  turnpike config check /etc/turnpike/node.yaml && turnpike reload\n", cmd_config_check },
    { "reload", "", 0, 0, NULL, no_options, "read configuration, certificates and accounts again",
      "No connection is dropped. A wrong file changes nothing.", "  turnpike reload\n", cmd_reload },
    { "log level", "[LEVEL]", 0, 1, "error|warn|info|debug|trace", no_options, "show or set the log's level",
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
