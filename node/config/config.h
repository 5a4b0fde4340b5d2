/* The node's configuration: what the YAML file says, checked whole and completed with defaults.
 *
 * A struct config never changes after config_load made it. It is shared by reference count: the main thread
 * publishes a new one on reload, and each user of the old one gives it back in its own time. Reading needs no
 * lock; config_hold and config_rele may be called from any thread. What the keys mean, their defaults and
 * ranges: docs/configuration.md.
 *
 * Here strings are never empty unless the comment says so (then NULL means unset), names of hosts and domains
 * are lower case without a final dot, and every list has its bound.
 */
#ifndef NODE_CONFIG_CONFIG_H
#define NODE_CONFIG_CONFIG_H

#include "base/buf.h"
#include "base/span.h"
#include "node/config/client_checks.h"
#include "node/config/errors.h"
#include "node/config/net.h"
#include "node/dkim/sign.h"
#include "spool/envelope.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define CONFIG_FILE_MAX (4u << 20) /* bytes of the file */
#define CONFIG_LISTENERS_MAX 64
#define CONFIG_NETWORKS_MAX 1024 /* per list */
#define CONFIG_ROUTES_MAX 10000
#define CONFIG_SOURCES_MAX 256
#define CONFIG_RETRY_MAX 16
#define CONFIG_ADMIN_HOSTS_MAX 32
#define CONFIG_DKIM_KEYS_MAX 10000

enum config_listener_kind { CONFIG_SUBMISSION, CONFIG_SUBMISSIONS, CONFIG_RELAY, CONFIG_INBOUND };

struct config_certificate {
    char *certificate; /* PEM file, chain included */
    char *key;         /* PEM file */
};

struct config_listener {
    char *name; /* unique; made from kind and port when not given */
    int kind;   /* enum config_listener_kind */
    struct sockaddr_storage address;
    struct config_certificate *tls; /* the first one serves clients without SNI */
    uint32_t ntls;                  /* 0: no TLS offered */
    bool require_tls;
    bool old_devices; /* AUTH without TLS, TLS 1.0, bare LF made CRLF; only with `networks` */
    bool hide_client_address;
    struct ip_net *networks; /* clients let in; nnetworks 0: any */
    uint32_t nnetworks;
    struct {
        struct ip_net *from; /* load balancers; nfrom 0: no PROXY protocol on this listener */
        uint32_t nfrom;
    } proxy_protocol;
    uint32_t max_sessions;
    uint32_t max_sessions_per_client; /* per IPv4 address or IPv6 /64 */
    /* From here on a key that is absent takes the value of the node or of `smtp`. */
    char *hostname;
    uint64_t max_message_bytes;
    uint32_t max_rcpts;
    int64_t idle_timeout_ms;
    int64_t command_timeout_ms;
};

struct config_relay_client {
    struct ip_net *networks;
    uint32_t nnetworks;
    char *account; /* canonical */
};

/* Of smtp: limits of sessions on all listeners. */
struct config_smtp {
    uint64_t max_message_bytes;
    uint64_t max_header_bytes;
    uint32_t max_rcpts;         /* per transaction */
    uint32_t max_errors;        /* then 421 4.7.0 */
    uint32_t max_messages;      /* per connection */
    uint32_t max_received;      /* Received fields, then 554 5.4.6 */
    uint32_t max_line_bytes;    /* of the content */
    uint32_t max_sessions;      /* of the node, over all listeners */
    int64_t idle_timeout_ms;    /* no byte of the next command */
    int64_t command_timeout_ms; /* from a command's first byte to its last */
    int64_t data_timeout_ms;    /* no byte of the content */
    int64_t session_timeout_ms; /* the whole connection */
    bool smtputf8;
    bool requiretls; /* offered to clients of submission listeners, under TLS */
    bool tls_required_no; /* "TLS-Required: No" in a header is heeded */
};

enum config_header_action { CONFIG_HEADER_ADD, CONFIG_HEADER_REMOVE };

struct config_header_rule {
    int action;  /* enum config_header_action */
    char *name;  /* field name without colon */
    char *value; /* ADD: the text after the colon and one space, without CRLF; may be "". REMOVE: NULL */
};

enum config_accounts_source { CONFIG_ACCOUNTS_FILE, CONFIG_ACCOUNTS_DOVECOT };
enum config_sender_check { CONFIG_SENDER_ENVELOPE_AND_HEADER, CONFIG_SENDER_ENVELOPE, CONFIG_SENDER_OFF };

struct config_account_rule { /* for accounts that Dovecot knows; the first that matches counts */
    char *match;             /* "user@example.com", "*@example.com", "*.example.com", "*" */
    int class;               /* enum envelope_class */
    char *tenant;            /* NULL: as dovecot.tenant says */
    char **senders;          /* besides its own address: addresses, domains, "*" */
    uint32_t nsenders;
};

struct config_accounts {
    int source;        /* enum config_accounts_source */
    char *file;        /* absolute; default data_dir/accounts */
    int sender_check;  /* enum config_sender_check */
    bool subaddresses; /* user+tag@domain is user@domain's own */
    struct {
        char *socket;
        char *service;
        char *tenant; /* "domain", "none", or a name for all */
        int64_t timeout_ms;
        struct config_account_rule *rules;
        uint32_t nrules;
    } dovecot;
    struct {
        uint32_t threads;       /* that compute password hashes */
        uint32_t queue;         /* checks waiting; over it 454 4.7.0 */
        uint32_t cache_entries; /* passwords known to be right; 0: none kept */
        int64_t cache_ttl_ms;
    } checks;
    struct {
        uint32_t account_failures; /* within `window`, then the account's new clients are refused; 0: never */
        uint32_t client_failures;  /* of an IPv4 /24 or IPv6 /64; 0: never */
        int64_t window_ms;
        int64_t block_ms;
    } guard;
};

enum config_ipv6 { CONFIG_IPV6_PREFER, CONFIG_IPV6_EQUAL, CONFIG_IPV4_ONLY, CONFIG_IPV6_ONLY };
enum config_tls { CONFIG_TLS_NONE, CONFIG_TLS_OPPORTUNISTIC, CONFIG_TLS_REQUIRED, CONFIG_TLS_VERIFY };
enum config_dane { CONFIG_DANE_OFF, CONFIG_DANE_ON, CONFIG_DANE_ONLY };

struct config_delivery {
    int64_t *retry_ms; /* the last one repeats */
    uint32_t nretry;
    uint32_t jitter_pct;
    int64_t expire_ms;
    int64_t delay_notice_ms;    /* 0: none */
    uint32_t connections_start; /* per site */
    uint32_t connections_max;   /* per site */
    uint32_t connections_total; /* of the node */
    uint32_t messages_per_connection;
    uint32_t max_rcpts;   /* per transaction */
    int ipv6;             /* enum config_ipv6 */
    bool eightbit_bounce; /* next hop without 8BITMIME: bounce 8-bit content instead of sending it as it is */
    int tls;              /* enum config_tls: towards MX hosts */
    int dane;             /* enum config_dane; OFF where `tls` is none */
    bool mta_sts;         /* false where `tls` is none */
    uint32_t mta_sts_port;           /* of policy hosts */
    struct ip_net *allowed_networks; /* private and local ranges that an MX may point into */
    uint32_t nallowed_networks;
    struct ip_net *floating_networks; /* of pools' addresses that are used with a valid session only */
    uint32_t nfloating_networks;
    uint32_t weight[3]; /* by enum envelope_class: messages per turn */
    struct {
        int64_t connect_ms;
        int64_t greeting_ms;
        int64_t command_ms; /* EHLO, STARTTLS, AUTH, MAIL, RCPT, RSET */
        int64_t data_ms;    /* the reply to DATA */
        int64_t block_ms;   /* one block of content */
        int64_t dot_ms;     /* the final reply */
        int64_t idle_ms;    /* an open connection kept for the next message */
    } timeouts;
};

struct config_source {
    struct sockaddr_storage address; /* port 0 */
    char *ehlo;
};

enum config_hop_kind {
    CONFIG_HOP_MX_OF_DOMAIN, /* ":2525": the recipient domain's MX hosts, at another port */
    CONFIG_HOP_HOST,         /* "host:25": its addresses, no MX lookup */
    CONFIG_HOP_ADDRESS,      /* "192.0.2.1:25", "[2001:db8::1]:25" */
    CONFIG_HOP_MX,           /* "mx:name" or "mx:name:25": the MX hosts of name */
};

struct config_route {
    char *domain; /* "example.org", "*.example.org" (names below it, not itself), "*" */
    char *via;    /* as written */
    struct {
        int kind;                        /* enum config_hop_kind */
        char *host;                      /* HOST and MX, else NULL */
        struct sockaddr_storage address; /* ADDRESS, with its port */
        uint16_t port;
    } hop;
    int tls;  /* enum config_tls; default: delivery.tls */
    int dane; /* enum config_dane; default: delivery.dane, and OFF where `tls` is none or verify */
    bool mta_sts; /* default: delivery.mta_sts; false where `tls` is none or verify */
    struct {
        char *user; /* NULL: no AUTH */
        char *password_file;
        char *password; /* its first line; NULL when files were not read */
    } auth;
};

struct config_resolver {
    struct sockaddr_storage *servers; /* none: the system's, from /etc/resolv.conf */
    uint32_t nservers;
    int64_t timeout_ms;
    char *trust_anchor_file; /* NULL: no DNSSEC validation of our own */
};

struct config_tls_reports {
    bool send;
    char *organization; /* default hostname */
    char *from;         /* address; default bounces.postmaster */
    char *contact;      /* likewise */
    int64_t delay_ms;   /* after midnight (UTC), at random up to this */
};

struct config_bounces {
    char *from;              /* display name */
    char *postmaster;        /* address in From and for operators' copies; default postmaster@hostname */
    bool return_full;        /* RET absent: the whole message instead of its header */
    uint64_t max_full_bytes; /* over it, the header only, whatever RET says */
};

struct config_dkim_key {
    char *domain, *selector;
    char *file;                          /* PEM */
    int64_t not_before_ms, not_after_ms; /* wall: signs from, and until before; 0: no bound */
    bool subdomains;                     /* also of From addresses below the domain */
    char **tenants; /* whose mail it signs; ntenants 0: anybody's who may send as the domain */
    uint32_t ntenants;
    struct dkim_key *key;               /* NULL when files were not read */
    const struct config_dkim_key *next; /* of the same domain */
};

struct config_dkim_tenant {
    char *tenant, *default_domain;
};

/* Of dkim: what signs mail that is accepted here, and how. */
struct config_dkim {
    char *default_domain; /* of mail whose From domain has no key; NULL: none */
    struct config_dkim_tenant *tenants;
    uint32_t ntenants;
    int canonicalization; /* enum dkim_canon of the header times 2, and of the body */
    int64_t expire_ms;    /* 0: signatures have no end */
    char **headers;
    uint32_t nheaders;
    char **oversigned;
    uint32_t noversigned;
    int *required; /* enum envelope_class: their mail is refused when nothing signs it */
    uint32_t nrequired;
    struct config_dkim_key *keys;
    uint32_t nkeys;
    struct dkim_style style; /* from those above */
};

struct config_spool {
    char *dir; /* default data_dir/spool */
    uint64_t segment_bytes;
    uint64_t min_free_bytes;
    uint64_t max_messages;
};

struct config_history {
    bool enabled;
    char *file; /* default data_dir/history.db */
    int64_t retention_ms;
    int64_t retention_clients_ms, retention_replies_ms; /* 0: as long as the rest */
    uint64_t max_bytes;
};

struct config_admin {
    char *socket;                   /* default data_dir/admin.sock */
    bool enabled_tcp;               /* `listen` was given */
    struct sockaddr_storage listen; /* a loopback address, unless `tls` or `remote` */
    struct config_certificate *tls; /* of `listen`; ntls 0: plain HTTP */
    uint32_t ntls;
    bool remote;                    /* `listen` may be reached from elsewhere without TLS: the network is trusted */
    char **hosts;                   /* names of it, besides its address and localhost */
    uint32_t nhosts;
    bool open_metrics; /* /metrics without the token */
    char *token_file;  /* NULL only without `listen` */
    char *token;       /* its first line; NULL without token_file or when files were not read */
};

enum config_log_level {
    CONFIG_LOG_ERROR,
    CONFIG_LOG_WARN,
    CONFIG_LOG_INFO,
    CONFIG_LOG_DEBUG,
    CONFIG_LOG_TRACE
};
enum config_events { CONFIG_EVENTS_OFF, CONFIG_EVENTS_STDOUT, CONFIG_EVENTS_JOURNAL, CONFIG_EVENTS_FILE };

struct config_log {
    int level;         /* enum config_log_level */
    char *events;      /* "off", "stdout", "journal" or the path */
    int events_kind;   /* enum config_events */
    bool hide_subject; /* keep Subject out of the event log */
    bool hide_message_id;
    bool hide_client; /* client addresses: only their /24 or /48 */
};

#define CONFIG_HOOK_MAX 255
/* Of cluster: this node's part in one. `enabled` is false when the section is absent: a node of its own. */
struct config_cluster {
    bool enabled;
    struct sockaddr_storage listen; /* raft, and nodes that join */
    struct sockaddr_storage gossip;
    char *advertise, *advertise_gossip; /* "host:port": as other nodes dial them; default: as they listen */
    int64_t election_ms, heartbeat_ms;
    char *address_hook;      /* NULL: none */
    char *address_interface; /* what that is told; NULL: it knows by itself */
};

struct config {
    char *path; /* of the file */
    char *name;
    char *hostname;
    char *data_dir;
    char *user, *group; /* NULL: privileges are not dropped */
    uint32_t workers;   /* resolved: never 0 */
    struct config_listener *listeners;
    uint32_t nlisteners;
    struct config_relay_client *relay_clients;
    uint32_t nrelay_clients;
    struct config_accounts accounts;
    struct config_smtp smtp;
    struct config_client_checks client_checks; /* without a cluster: in one the policy has them */
    struct config_header_rule *header_rules;
    uint32_t nheader_rules;
    char **always_bcc;
    uint32_t nalways_bcc;
    struct config_delivery delivery;
    struct config_source *sources;
    uint32_t nsources;
    struct config_route *routes;
    uint32_t nroutes;
    struct config_resolver resolver;
    struct config_bounces bounces;
    struct config_dkim dkim;
    struct config_tls_reports tls_reports;
    struct config_spool spool;
    struct config_history history;
    struct config_admin admin;
    struct config_log log;
    struct config_cluster cluster;
};

/* Bits for config_load and config_parse. */
enum config_flag {
    CONFIG_NO_FILES = 1, /* do not look at the files that it names (certificates, passwords, tokens) */
};

/* Reads and checks the file. On success *out has one reference, and `errors` may hold warnings. ERR_BAD: all
 * that is wrong is in `errors`, in the order of lines. -errno: the file itself can't be read (also told in
 * `errors`). The main thread only: it reads files. */
int config_load(const char *path, unsigned flags, struct config **out, struct config_errors *errors);
/* The same for text in memory; `path` is for messages. */
int config_parse(const char *path, struct span text, unsigned flags, struct config **out,
                 struct config_errors *errors);

struct config *config_hold(struct config *c);
void config_rele(struct config *c);

/* "key.path: value" lines of every effective value, secrets left out. 0, ERR_LIMIT or -ENOMEM. */
int config_describe(const struct config *c, struct buf *out);

/* Appends the names of keys that differ and can't change without a restart, one per line, and returns how
 * many. */
uint32_t config_diff_restart_needed(const struct config *was, const struct config *now, struct buf *names);

/* The route for a recipient domain (lower case, A-labels): exact, then the longest "*.suffix", then "*";
 * NULL: by its MX. */
const struct config_route *config_route_find(const struct config *c, struct span domain);

/* Of the keys for this very domain (lower case, A-labels) what a tenant's ("": none) mail is signed with at that time:
 * the newest of each algorithm, into `best`, which is NULL or has others already. `below`: mail of a domain below it, for
 * which only keys with `subdomains` are. */
void config_dkim_look(const struct config *c, struct span domain, bool below, struct span tenant, int64_t wall_ms,
                      const struct config_dkim_key *best[DKIM_ALGORITHMS]);
/* The tenant's default domain, else the one for all, else empty. */
struct span config_dkim_default(const struct config *c, struct span tenant);

/* The account that a relay listener's client sends as (the longest prefix wins), or NULL. */
const char *config_relay_account(const struct config *c, const struct sockaddr *client);

#endif
