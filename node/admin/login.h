/* Logins of the dashboard: what a browser's cookie stands for. Admin threads; the table has a lock of its
 * own.
 *
 * The cookie is a random secret. The cluster's state has its SHA-256, the operator and the times (LOGIN_SET),
 * so that a login holds on every node and a logout on all of them. Known to one node only are logins by the
 * API's token, and those that a node takes while it reaches no majority: in memory, at most LOGIN_HERE_MAX.
 *
 * Times are of the wall clock. Only what an operator does keeps a login alive (POST), not a page that looks.
 */
#ifndef NODE_ADMIN_LOGIN_H
#define NODE_ADMIN_LOGIN_H

#include "node/admin/cluster.h"

#define LOGIN_COOKIE "__Host-turnpike"
#define LOGIN_SECRET_TEXT 65 /* hex, with NUL */
#define LOGIN_CSRF_TEXT 33
#define LOGIN_OPERATOR_MAX 64 /* LOGIN_NAME_MAX is of limits.h */
#define LOGIN_PASSWORD_MIN 10
#define LOGIN_HERE_MAX 64
#define LOGIN_IDLE_MS INT64_C(1800000)
#define LOGIN_ENDS_MS INT64_C(43200000)
#define LOGIN_RENEW_MS INT64_C(300000) /* used again this long after the last time: that is made known */

struct login {
    char name[LOGIN_OPERATOR_MAX + 1];
    uint8_t role; /* enum admin_role */
    uint8_t id[32];
    int64_t until_ms, ends_ms;
    bool here;  /* this node alone knows of it */
    bool token; /* by the API's token: nobody's by name */
    char csrf[LOGIN_CSRF_TEXT];
};

struct logins;

struct logins *logins_new(void);
void logins_free(struct logins *l);

/* Who has this cookie. False: nobody, or it has ended. `m` NULL: in no cluster. */
bool logins_find(struct logins *l, struct machine *m, struct span secret, int64_t now_ms, struct login *out);

/* A new one, kept here: of `name` as `version` of its record is, or (role ADMIN, version 0) by the token. */
void logins_open_here(struct logins *l, const struct login *login, uint64_t version);
/* It was used, and nobody else could be told. */
void logins_extend_here(struct logins *l, const struct login *login, int64_t until_ms);
void logins_close_here(struct logins *l, const uint8_t id[32]);
/* The API's token is another one. */
void logins_drop_tokens(struct logins *l);

/* A random secret and what follows from it: id and csrf. */
int login_make(char secret[LOGIN_SECRET_TEXT], struct login *out);
/* False: it is none. */
bool login_derive(struct span secret, struct login *out);
/* The cookie's value in a Cookie header; false: none, or more than one. */
bool login_cookie(struct span header, struct span *secret);

#endif
