/* The scalar types of the configuration file. See schema.h. */
#ifndef NODE_CONFIG_TYPES_H
#define NODE_CONFIG_TYPES_H

#include "node/config/schema.h"

extern const struct schema_type type_bool; /* bool */
extern const struct schema_type type_u32;  /* uint32_t, min..max */
extern const struct schema_type type_size; /* uint64_t bytes, min..max */
extern const struct schema_type
    type_count; /* uint64_t, min..max; "10M" is ten times 2^20 no more: plain digits */
extern const struct schema_type type_duration;  /* int64_t ms, min..max */
extern const struct schema_type type_enum;      /* int, names */
extern const struct schema_type type_flag_enum; /* bool, names[0] is false, names[1] is true */
extern const struct schema_type type_text;      /* char *: printable, at most max bytes */
extern const struct schema_type type_word;      /* char *: letters, digits, '-', '_', '.'; at most 63 */
extern const struct schema_type type_path;      /* char *: absolute */
extern const struct schema_type type_host;      /* char *: host name with a dot, or "localhost"; lower case */
extern const struct schema_type type_email;     /* char *: local@domain */
extern const struct schema_type type_account;   /* char *: canonical account name */
extern const struct schema_type type_sender;    /* char *: address, domain or "*" */
extern const struct schema_type type_match;     /* char *: pattern of accounts */
extern const struct schema_type type_domain;    /* char *: route's pattern of recipient domains */
extern const struct schema_type type_events;    /* char *: off, stdout, journal or a path */
extern const struct schema_type type_endpoint;  /* sockaddr_storage, ip:port */
extern const struct schema_type type_ip;        /* sockaddr_storage, port 0 */
extern const struct schema_type type_server;    /* sockaddr_storage, "ip" or "ip@port" */
extern const struct schema_type type_net;       /* struct ip_net */
extern const struct schema_type type_via;       /* char *: a route's next hop; taken apart by via_parse */
extern const struct schema_type type_header_add, type_header_remove; /* struct config_header_rule */

/* Is it a host or domain name in ASCII: labels of letters, digits and inner hyphens; 253 in all? */
bool host_valid(struct span s);

/* Is it local@domain, as a mail address of operators' is written? */
bool email_valid(struct span s);

/* What the types that are a char * share: a copy, NUL-terminated; how it is shown (not at all when it is
 * NULL); its end. */
bool config_string_keep(struct span s, void *out);
bool config_string_format(const struct schema_field *f, const void *in, struct buf *out);
void config_string_fini(void *value);

/* types_dkim.c */
extern const struct schema_type type_date; /* int64_t ms since 1970: "2026-11-01", "2026-11-01T12:30:00Z" */
extern const struct schema_type type_selector;   /* char *: labels of a DNS name */
extern const struct schema_type type_field_name; /* char *: of a header field that can be signed */

struct config_route;
/* Takes route->via apart into route->hop; what is wrong, or NULL. */
const char *via_parse(struct config_route *route);

#endif
