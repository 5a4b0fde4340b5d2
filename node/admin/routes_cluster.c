/* Parameters of the routes about clusters, senders, pools and the policy; the table itself is in routes.c. */
#include "node/admin/call.h"

#define END                                                                                                  \
    {                                                                                                        \
        .name = NULL                                                                                         \
    }
#define TEXT(n, h)                                                                                           \
    {                                                                                                        \
        .name = n, .type = ADMIN_TYPE_STRING, .help = h                                                      \
    }
#define NEEDED(n, h)                                                                                         \
    {                                                                                                        \
        .name = n, .type = ADMIN_TYPE_STRING, .required = true, .help = h                                    \
    }
#define BOOL(n, h)                                                                                           \
    {                                                                                                        \
        .name = n, .type = ADMIN_TYPE_BOOL, .help = h                                                        \
    }
#define NUMBER(n, lo, hi, h)                                                                                 \
    {                                                                                                        \
        .name = n, .type = ADMIN_TYPE_INT, .min = lo, .max = hi, .help = h                                   \
    }
#define CHOICE(n, c, h)                                                                                      \
    {                                                                                                        \
        .name = n, .type = ADMIN_TYPE_CHOICE, .choices = c, .help = h                                        \
    }
#define SENDER TEXT("account", "of an account, or"), TEXT("tenant", "of a tenant as a whole")
#define DOCUMENT                                                                                             \
    NEEDED("name", "what faults call the document"),                                                         \
    {                                                                                                        \
        .name = "text", .type = ADMIN_TYPE_TEXT, .required = true, .max = 1 << 20,                           \
        .help = "the policy, YAML"                                                                           \
    }

/* JSON's integers are exact up to this in every client. */
#define VERSION_MAX INT64_C(9007199254740991)
#define DAY_MS INT64_C(86400000)

const struct admin_param admin_scope_params[] = { CHOICE("scope", "cluster|local", "all nodes, or this one"),
                                                  END };
const struct admin_param admin_page_params[] = {
    NUMBER("limit", 1, ADMIN_ROWS_MAX, "rows at most"),
    TEXT("after", "the last page's next"),
    END,
};
const struct admin_param admin_name_params[] = { NEEDED("name", "its name"), END };
const struct admin_param admin_noted_params[] = { NEEDED("name", "its name"), TEXT("note", "a remark"), END };

const struct admin_param admin_tenant_contact_params[] = {
    NEEDED("name", "its name"),
    TEXT("address", "whom to tell when its mail waits for it; default: nobody any more"),
    END,
};

const struct admin_param admin_tenant_token_params[] = { NEEDED("id", "the token's public part"), END };

const struct admin_param admin_auth_unblock_params[] = { TEXT("account", "login name, or"),
                                                         TEXT("address", "a client's, for its network"), END };
const struct admin_param admin_privacy_erase_params[] = { NEEDED("address", "a whole mail address"), END };
const struct admin_param admin_tenant_report_params[] = {
    TEXT("tenant", "which; a tenant's token: its own"),
    CHOICE("window", "24h|7d", "default: 7d"),
    END,
};

#define ROLE                                                                                                 \
    {                                                                                                        \
        .name = "role", .type = ADMIN_TYPE_CHOICE, .required = true, .choices = "viewer|postmaster|admin",   \
        .help = "what he may do"                                                                             \
    }
#define PASSWORD                                                                                             \
    {                                                                                                        \
        .name = "password", .type = ADMIN_TYPE_SECRET, .required = true, .help = "at least 10 characters"    \
    }
const struct admin_param admin_login_params[] = {
    TEXT("name", "operator, with his"),
    { .name = "password", .type = ADMIN_TYPE_SECRET, .help = "password, or" },
    { .name = "token", .type = ADMIN_TYPE_SECRET, .help = "the API's token" },
    END,
};
const struct admin_param admin_operator_add_params[] = {
    NEEDED("name", "login name"),
    ROLE,
    PASSWORD,
    END,
};
const struct admin_param admin_operator_set_params[] = {
    NEEDED("name", "login name"),
    ROLE,
    END,
};
const struct admin_param admin_operator_passwd_params[] = {
    NEEDED("name", "login name"),
    PASSWORD,
    END,
};
const struct admin_param admin_operator_params[] = { NEEDED("name", "login name"), END };
const struct admin_param admin_series_params[] = {
    CHOICE("window", "hour|day", "by the minute, or by ten minutes; default: hour"),
    CHOICE("scope", "cluster|local", "all nodes, or this one"),
    END,
};

const struct admin_param admin_account_show_params[] = { NEEDED("name", "login name"), END };
const struct admin_param admin_account_set_params[] = {
    NEEDED("name", "login name"),
    CHOICE("class", "person|device|bulk", "stream"),
    TEXT("tenant", "tenant"),
    { .name = "senders",
      .type = ADMIN_TYPE_STRINGS,
      .max = 100,
      .help = "envelope senders besides the name" },
    BOOL("disabled", "may not log in"),
    END,
};

const struct admin_param admin_cluster_init_params[] = {
    TEXT("name", "this node's name; default: the configured"), END
};
const struct admin_param admin_node_join_params[] = {
    { .name = "token", .type = ADMIN_TYPE_SECRET, .required = true, .help = "what node token printed" },
    END,
};
const struct admin_param admin_node_token_params[] = {
    { .name = "for",
      .type = ADMIN_TYPE_DURATION,
      .min = 60000,
      .max = 7 * DAY_MS,
      .help = "it is good so long" },
    TEXT("name", "only for the node of this name"),
    END,
};
const struct admin_param admin_node_drain_params[] = { BOOL("undo", "take new mail again"), END };
const struct admin_param admin_node_params[] = { NEEDED("node", "name or id of the node"), END };
const struct admin_param admin_node_address_params[] = { NEEDED("node", "name or id of the node"),
                                                         NEEDED("raft", "where its log traffic is reached"),
                                                         NEEDED("gossip", "where everything else is"), END };
const struct admin_param admin_node_role_params[] = {
    NEEDED("node", "name or id of the node"),
    { .name = "role",
      .type = ADMIN_TYPE_CHOICE,
      .required = true,
      .choices = "voter|standby",
      .help = "its part" },
    END,
};

const struct admin_param admin_transfer_params[] = { NEEDED("batch", "32 hexadecimal digits"), END };
const struct admin_param admin_adopt_params[] = {
    NEEDED("dir", "the dead node's spool directory, on this machine"),
    NEEDED("node", "name or id of the dead node, which was removed"),
    END,
};

const struct admin_param admin_freeze_params[] = {
    SENDER,
    CHOICE("mode", "auto|reject|defer|hold", "what happens to new mail; default: the policy's"),
    { .name = "for",
      .type = ADMIN_TYPE_DURATION,
      .min = 1000,
      .max = 3650 * DAY_MS,
      .help = "default: until thawed" },
    TEXT("reason", "for the log and for who looks at it"),
    BOOL("local", "on this node only, without a majority"),
    END,
};
const struct admin_param admin_thaw_params[] = {
    SENDER,
    NUMBER("freeze", 1, VERSION_MAX, "only this freeze, by its id"),
    BOOL("local", "end a freeze of this node only"),
    END,
};

#define TIME(n, h)                                                                                           \
    {                                                                                                        \
        .name = n, .type = ADMIN_TYPE_TIME, .help = h                                                        \
    }
#define DKIM_KEY NEEDED("domain", "the domain that signs"), NEEDED("selector", "the key's name in the DNS")
#define DKIM_USE                                                                                             \
    TIME("not_before", "it signs from then on"), TIME("not_after", "it signs until then"),                   \
        BOOL("subdomains", "also for names below the domain"),                                               \
        TEXT("tenants", "only these tenants' mail, with blanks between")
const struct admin_param admin_dkim_params[] = {
    TEXT("domain", "of this domain"),
    NUMBER("limit", 1, ADMIN_ROWS_MAX, "rows at most"),
    TEXT("after", "the last page's next"),
    END,
};
const struct admin_param admin_dkim_generate_params[] = {
    DKIM_KEY, CHOICE("type", "rsa|ed25519", "what kind; default: rsa"),
    NUMBER("bits", 1024, 4096, "of an RSA key; default: 2048"), DKIM_USE, END
};
const struct admin_param admin_dkim_import_params[] = { DKIM_KEY,
                                                        { .name = "key",
                                                          .type = ADMIN_TYPE_TEXT,
                                                          .required = true,
                                                          .max = 8192,
                                                          .help = "the private key, PEM" },
                                                        DKIM_USE,
                                                        END };
const struct admin_param admin_dkim_set_params[] = { DKIM_KEY, TIME("not_before", "it signs from then on"),
                                                     TIME("not_after", "it signs until then"), END };
const struct admin_param admin_dkim_remove_params[] = { DKIM_KEY, END };
const struct admin_param admin_rekey_params[] = {
    BOOL("lost", "no node has the one in force: what it encrypted stays closed"),
    END,
};

#define SECRET_USE                                                                                           \
    {                                                                                                        \
        .name = "use", .type = ADMIN_TYPE_CHOICE, .required = true, .choices = "bounces|domains|srs|webhooks", \
        .help = "what for"                                                                                   \
    }
const struct admin_param admin_secret_add_params[] = {
    SECRET_USE,
    TEXT("name", "what it is called; default: the time"),
    { .name = "secret", .type = ADMIN_TYPE_SECRET, .help = "16 to 128 characters; default: a random one is made" },
    BOOL("policy", "that of the policy in force, bounces.key"),
    END,
};
const struct admin_param admin_secret_remove_params[] = { SECRET_USE, NEEDED("name", "which one"), END };

const struct admin_param admin_suppression_params[] = {
    TEXT("tenant", "of this tenant; empty: of accounts without one"),
    NUMBER("limit", 1, ADMIN_ROWS_MAX, "rows at most"),
    TEXT("after", "the last page's next"),
    END,
};
const struct admin_param admin_suppression_add_params[] = {
    NEEDED("address", "not to be sent to"),
    TEXT("tenant", "by this tenant; default: by accounts without one"),
    { .name = "for",
      .type = ADMIN_TYPE_DURATION,
      .min = 1000,
      .max = 3650 * DAY_MS,
      .help = "default: until removed" },
    TEXT("reason", "a remark"),
    END,
};
const struct admin_param admin_suppression_remove_params[] = {
    NEEDED("address", "to be sent to again"),
    TEXT("tenant", "by this tenant; default: by accounts without one"),
    END,
};

const struct admin_param admin_sender_bounces_params[] = { NEEDED("account", "whose mail"), END };
const struct admin_param admin_sender_pin_params[] = {
    NEEDED("account", "whose"),
    { .name = "tier",
      .type = ADMIN_TYPE_CHOICE,
      .choices = "good|neutral|poor|auto",
      .required = true,
      .help = "until it is auto again" },
    TEXT("reason", "a remark, for the audit trail"),
    END,
};
const struct admin_param admin_sender_lift_params[] = {
    NEEDED("account", "whose"),
    TEXT("rule", "what this one does; default: all"),
    END,
};
const struct admin_param admin_sender_forget_params[] = {
    NEEDED("account", "web:HOST/ORIGIN"),
    END,
};
const struct admin_param admin_sender_top_params[] = {
    CHOICE("by", "bounces|complaints|deferred|delivered", "the most of these first; default: bounces"),
    CHOICE("window", "1h|24h|7d", "counted within; default: 24h"),
    NUMBER("limit", 1, ADMIN_ROWS_MAX, "senders at most; default: 20"),
    END,
};

const struct admin_param admin_cluster_raise_params[] = {
    NUMBER("level", 1, 1000000, "default: the highest that every node can do"),
    END,
};
const struct admin_param admin_sender_params[] = { SENDER, END };
const struct admin_param admin_limit_set_params[] = {
    SENDER,
    NEEDED("limit", "name of the policy's limit"),
    { .name = "count",
      .type = ADMIN_TYPE_INT,
      .required = true,
      .max = 1000000000,
      .help = "recipients, in place of the policy's" },
    END,
};
const struct admin_param admin_limit_clear_params[] = { SENDER, NEEDED("limit", "name of the policy's limit"),
                                                        END };

#define ASSIGNEE                                                                                             \
    CHOICE("class", "person|device|bulk", "mail of a class, or"), TEXT("tenant", "a tenant, or"),            \
        TEXT("account", "an account")
const struct admin_param admin_pool_assign_params[] = { ASSIGNEE, NEEDED("pool", "name of the pool"), END };
const struct admin_param admin_pool_float_params[] = {
    NEEDED("name", "name of the pool"),
    { .name = "mode",
      .type = ADMIN_TYPE_CHOICE,
      .required = true,
      .choices = "never|operator|automatic",
      .help = "when its addresses go to other nodes" },
    { .name = "after",
      .type = ADMIN_TYPE_DURATION,
      .min = 1000,
      .max = 7 * DAY_MS,
      .help = "automatic: so long after their node was lost; default 30s" },
    NUMBER("per_node", 1, 4096, "automatic: so many of the pool's on one node at most"),
    TEXT("nodes", "automatic: to these nodes before others; names with commas"),
    BOOL("return", "automatic: back when their node has been there again for so long"),
    END,
};
const struct admin_param admin_pool_unassign_params[] = { ASSIGNEE, END };

#define ADDRESS NEEDED("address", "source address")
const struct admin_param admin_ip_params[] = { ADDRESS, END };
const struct admin_param admin_ip_show_params[] = {
    ADDRESS,
    TEXT("site", "only this site"),
    NUMBER("limit", 1, ADMIN_ROWS_MAX, "sites at most, the busiest"),
    CHOICE("scope", "cluster|local", "all nodes, or this one"),
    END,
};
const struct admin_param admin_ip_add_params[] = {
    ADDRESS,
    NEEDED("pool", "its pool"),
    NEEDED("node", "the node that has it"),
    TEXT("ehlo", "name to greet with"),
    NUMBER("weight", 1, 1000000, "share of the pool's mail; default 100"),
    END,
};
const struct admin_param admin_ip_set_params[] = {
    ADDRESS,
    TEXT("pool", "its pool"),
    TEXT("ehlo", "name to greet with"),
    NUMBER("weight", 1, 1000000, "share of the pool's mail"),
    CHOICE("use", "used|drained|disabled", "drained: no new connections; disabled: none at all"),
    END,
};
const struct admin_param admin_ip_move_params[] = { ADDRESS, NEEDED("node", "the node that gets it"),
                                                    BOOL("dead", "its owner's machine is off for sure"), END };

const struct admin_param admin_ip_warm_step_params[] = {
    ADDRESS,
    NEEDED("site", "a destination, or * for those that share one"),
    { .name = "step", .type = ADMIN_TYPE_INT, .required = true, .max = 365, .help = "0: the first day's" },
    END,
};

const struct admin_param admin_policy_params[] = {
    NUMBER("version", 1, VERSION_MAX, "an earlier one"),
    END,
};
const struct admin_param admin_policy_diff_params[] = { DOCUMENT, END };
const struct admin_param admin_policy_apply_params[] = {
    DOCUMENT,
    TEXT("note", "a remark, for the history"),
    NUMBER("version", 1, VERSION_MAX, "only if this one is in force"),
    END,
};
const struct admin_param admin_policy_rollback_params[] = {
    { .name = "to",
      .type = ADMIN_TYPE_INT,
      .required = true,
      .min = 1,
      .max = VERSION_MAX,
      .help = "its version" },
    END,
};

const struct admin_param admin_policy_test_reply_params[] = {
    NEEDED("site", "destination: a domain"),
    NEEDED("text", "the reply, with its code"),
    CHOICE("stage", "banner|mail|rcpt|data|dot|any", "answer to what; default: any, each of them"),
    TEXT("mx", "host name of the server"),
    TEXT("pool", "pool of source addresses"),
    END,
};
