/* The accounts file of one node: reading it into a snapshot, and editing it (for the command line).
 *
 * One account per line, so that it can be read, compared and edited by hand:
 *
 *     name:hash:class:tenant:options
 *     anna@example.org:$y$j9T$...:person:example.org:
 *     news@example.org:$6$...:bulk:example.org:senders=news.example.org,list@example.com
 *
 * Empty lines and lines that begin with # are kept and skipped. Options are separated by blanks: senders=LIST
 * (addresses, domains, *), disabled. Names are canonical: trimmed and lower case (ASCII). The tenant may be
 * empty. Nothing here depends on the node's configuration.
 *
 * An account_table never changes; it is shared by reference count (any thread). Reading and editing block:
 * the main thread, the blocking pool, or the command line.
 */
#ifndef NODE_AUTH_ACCOUNTS_H
#define NODE_AUTH_ACCOUNTS_H

#include "base/buf.h"
#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

#define ACCOUNTS_MAX 1000000
#define ACCOUNTS_FILE_MAX (512u << 20)
#define ACCOUNT_NAME_MAX 320
#define ACCOUNT_HASH_MAX 384
#define ACCOUNT_PASSWORD_MAX 512 /* libxcrypt's own bound */
#define ACCOUNT_SENDERS_MAX 256
#define ACCOUNT_LINE_MAX 16384

enum account_class { ACCOUNT_PERSON, ACCOUNT_DEVICE, ACCOUNT_BULK }; /* as enum envelope_class */
const char *account_class_name(int cls);
/* -1: no such class. */
int account_class_parse(struct span s);

struct account {
    const char *name;    /* canonical */
    const char *hash;    /* crypt(5), or "!" (no password: only relay listeners use the account) */
    const char *tenant;  /* "" : none */
    const char *senders; /* as in the file: "a@b.org,c.org" or "*" or "" */
    uint8_t class;       /* enum account_class */
    bool disabled;
};

/* Trims blanks, lower-cases. ERR_BAD: empty, too long, or with characters that a name can't have (control,
 * blank, ':', '"', ',', '\\', bytes that are not UTF-8). `out` has ACCOUNT_NAME_MAX + 1 bytes. */
int account_name_canonical(struct span name, char *out);

/* One more or less item of a list of senders: "user@domain", "domain", "@domain", "*"; what is wrong, or
 * NULL. */
const char *account_sender_check(struct span item);

/* ---- snapshot ------------------------------------------------------------------------------------------ */

struct account_table;

/* ERR_BAD: lines are malformed or name an account twice; `why` (may be NULL) gets "file:line: reason" lines,
 * at most a hundred. ERR_DENIED: everybody may read or write the file. -ENOENT and the like: as open(2). */
int account_table_load(const char *path, struct account_table **out, struct buf *why);
/* The same for text in memory. */
int account_table_parse(const char *path, struct span text, struct account_table **out, struct buf *why);
struct account_table *account_table_hold(struct account_table *t);
void account_table_rele(struct account_table *t);

/* `name` canonical. Valid while the table is held. */
const struct account *account_table_find(const struct account_table *t, struct span name);
uint32_t account_table_len(const struct account_table *t);
/* In the file's order. */
const struct account *account_table_at(const struct account_table *t, uint32_t i);

/* ---- passwords ----------------------------------------------------------------------------------------- */

/* A new yescrypt hash, at libxcrypt's default cost (about 15 ms). `out` has ACCOUNT_HASH_MAX + 1 bytes.
 * ERR_BAD: empty, too long or with a NUL. */
int account_hash_password(struct span password, char *out);
/* Constant time in everything but the hash's own parameters. */
bool account_hash_verify(const char *hash, struct span password);
/* Is it a hash that libxcrypt can check: "$y$...", "$6$...", "$2b$...", also behind "{CRYPT}" and Dovecot's
 * "{SHA512-CRYPT}", "{BLF-CRYPT}" and the like? Then *hash is the part without braces. */
bool account_hash_recognise(struct span text, struct span *hash);

/* ---- editing ------------------------------------------------------------------------------------------- */

struct account_spec {
    struct span name;
    struct span hash;   /* as account_hash_recognise takes it, or "!" */
    struct span tenant; /* empty: the name's domain, if it has one */
    struct span senders;
    int class;
    bool disabled;
};

struct accounts_edit;

/* Locks out other writers (waits up to ten seconds: ERR_BUSY), reads the file; a file that does not exist yet
 * is empty. Errors as account_table_load. */
int accounts_edit_open(const char *path, struct accounts_edit **out, struct buf *why);
/* ERR_EXISTS, ERR_BAD (`why` says what), ERR_LIMIT. */
int accounts_edit_add(struct accounts_edit *e, const struct account_spec *spec, struct buf *why);
/* ERR_NOT_FOUND, ERR_BAD. */
int accounts_edit_passwd(struct accounts_edit *e, struct span name, struct span hash, struct buf *why);
/* Replaces all but the hash; an empty spec->hash keeps it. ERR_NOT_FOUND, ERR_BAD. */
int accounts_edit_set(struct accounts_edit *e, const struct account_spec *spec, struct buf *why);
/* ERR_NOT_FOUND. */
int accounts_edit_remove(struct accounts_edit *e, struct span name);

enum accounts_import_flag {
    ACCOUNTS_IMPORT_UPDATE = 1, /* accounts that exist get the new values; else they are an error */
};

struct accounts_import_result {
    uint32_t added, updated, hashed;
};

/* Lines of "name,password-or-hash[,class[,tenant[,senders]]]" (RFC 4180 quoting; a first line that begins
 * with "name," is a heading; # begins a comment; senders are separated by blanks). Passwords are hashed on
 * `threads` threads. All or nothing: on ERR_BAD `why` has "line N: reason" lines and the edit is unchanged.
 */
int accounts_edit_import(struct accounts_edit *e, struct span csv, unsigned flags, unsigned threads,
                         struct accounts_import_result *result, struct buf *why);

/* Writes the new file beside the old one, syncs, renames, syncs the directory. Owner and mode stay (new:
 * 0640, the directory's owner and group). After an error the old file is untouched. */
int accounts_edit_commit(struct accounts_edit *e, struct buf *why);
/* Unlocks; without commit nothing changed. NULL is allowed. */
void accounts_edit_close(struct accounts_edit *e);

#endif
