/* Keys and their DNS records from the command line. See dkim_tool.h. */
#include "node/core/dkim_tool.h"

#include "base/err.h"
#include "base/text.h"
#include "node/config/config.h"
#include "node/dkim/record.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unbound.h>
#include <unistd.h>

#define TYPE_TXT 16
#define CLASS_IN 1
#define EXIT_NOT_GOOD 1

struct tool {
    const char *domain, *selector, *type, *bits, *out, *what, *key, *config_path, *json;
    struct config *config; /* NULL: there is none to be had */
    json_t *keys;          /* what is told of each */
    bool bad;              /* one is not as it should be */
};

static int fail(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int fail(int code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fputs("turnpike: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    return code;
}

/* ---- what it works with -------------------------------------------------------------------------------- */

/* The node's file, without the files that it names: whoever asks for a record need not be able to read all of
 * them. False, having said why: there is one, and it is wrong; or it was asked for and is not there. */
static bool open_config(struct tool *t)
{
    struct config_errors errors;
    const char *path = t->config_path != NULL ? t->config_path : "/etc/turnpike/node.yaml";
    if (t->config_path == NULL && access(path, R_OK) != 0)
        return true;
    config_errors_init(&errors);
    int err = config_load(path, CONFIG_NO_FILES, &t->config, &errors);
    for (uint32_t i = 0; err != 0 && i < errors.n; i++)
        fprintf(stderr, "%s\n", errors.v[i].text);
    config_errors_fini(&errors);
    return err == 0;
}

static int read_key(const char *file, struct dkim_key **out)
{
    char text[DKIM_KEY_FILE_MAX + 1], why[DKIM_WHY_MAX];
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text);
    int err = errno;
    if (fd >= 0)
        close(fd);
    if (n < 0)
        return fail(EX_NOINPUT, "cannot read %s: %s", file, strerrordesc_np(err));
    int bad = dkim_key_parse(span_of(text, (size_t)n), out, why);
    explicit_bzero(text, sizeof text);
    return bad == 0 ? 0 : fail(EX_DATAERR, "%s %s", file, why);
}

/* The record with its strings, NUL-terminated; NULL: no memory. Free both with buf_fini. */
static bool record_of(const struct dkim_key *k, struct buf *record, struct buf *zone)
{
    buf_init(record, DKIM_RECORD_MAX);
    buf_init(zone, 2 * DKIM_RECORD_MAX);
    return dkim_record_put(k, record) == 0 && dkim_record_put_zone(buf_span(record), zone) == 0 &&
           buf_put_char(record, '\0') == 0 && buf_put_char(zone, '\0') == 0;
}

/* One key's record, for a zone file or as an object. `name` NULL: nobody said whose it is. */
static int show_record(struct tool *t, const struct dkim_key *k, const char *name, const char *file)
{
    struct buf record, zone;
    bool good = record_of(k, &record, &zone);
    if (good && t->json != NULL)
        json_array_append_new(t->keys,
                              json_pack("{s:s*,s:s,s:s,s:i,s:s,s:s}", "name", name, "file", file, "algorithm",
                                        dkim_algorithm_name(dkim_key_algorithm(k)), "bits",
                                        (int)dkim_key_bits(k), "record", record.data, "zone", zone.data));
    else if (good && name != NULL)
        printf("%s. IN TXT ( %s )\n", name, zone.data);
    else if (good)
        printf("%s\n", zone.data);
    buf_fini(&record);
    buf_fini(&zone);
    return good ? 0 : fail(EX_OSERR, "out of memory");
}

/* ---- generate ------------------------------------------------------------------------------------------ */

static int write_key(const struct dkim_key *k, const char *file)
{
    struct buf pem;
    buf_init(&pem, DKIM_KEY_FILE_MAX);
    int fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail(EX_CANTCREAT, "cannot make %s: %s", file,
                    errno == EEXIST ? "it is there already, and a key is never overwritten"
                                    : strerrordesc_np(errno));
    bool good =
        dkim_key_put_pem(k, &pem) == 0 && write(fd, pem.data, pem.len) == (ssize_t)pem.len && fsync(fd) == 0;
    if (pem.data != NULL)
        explicit_bzero(pem.data, pem.len);
    buf_fini(&pem);
    good = close(fd) == 0 && good;
    if (good)
        return 0;
    unlink(file);
    return fail(EX_IOERR, "cannot write %s: %s", file, strerrordesc_np(errno));
}

static int generate(struct tool *t)
{
    uint64_t bits = 2048;
    char name[600];
    if (t->domain == NULL || t->selector == NULL || t->out == NULL)
        return fail(EX_USAGE, "generate needs domain=, selector= and out=");
    bool rsa = t->type == NULL || strcmp(t->type, "rsa") == 0;
    if (!rsa && strcmp(t->type, "ed25519") != 0)
        return fail(EX_USAGE, "a key's type is rsa or ed25519, not %s", t->type);
    if (t->bits != NULL && (!rsa || text_u64(span_str(t->bits), &bits) != 0 || bits < DKIM_RSA_BITS_MIN ||
                            bits > DKIM_RSA_BITS_MAX))
        return fail(EX_USAGE, "an RSA key has from %d to %d bits; 2048 are what everybody takes",
                    DKIM_RSA_BITS_MIN, DKIM_RSA_BITS_MAX);
    struct dkim_key *k;
    if (dkim_key_generate(rsa ? DKIM_RSA : DKIM_ED25519, (uint32_t)bits, &k) != 0)
        return fail(EX_SOFTWARE, "the key cannot be made");
    snprintf(name, sizeof name, "%s._domainkey.%s", t->selector, t->domain);
    int code = write_key(k, t->out);
    if (code == 0)
        code = show_record(t, k, name, t->out);
    dkim_key_rele(k);
    return code;
}

/* ---- dns ----------------------------------------------------------------------------------------------- */

static const char *record_name(const struct config_dkim_key *k, char name[600])
{
    snprintf(name, 600, "%s._domainkey.%s", k->selector, k->domain);
    return name;
}

/* The next of the configured keys of the domain, and of the selector if one is given. */
static const struct config_dkim_key *next_key(const struct tool *t, uint32_t *at)
{
    while (t->config != NULL && *at < t->config->dkim.nkeys) {
        const struct config_dkim_key *k = &t->config->dkim.keys[(*at)++];
        if (strcasecmp(k->domain, t->domain) == 0 &&
            (t->selector == NULL || strcasecmp(k->selector, t->selector) == 0))
            return k;
    }
    return NULL;
}

static int no_keys(const struct tool *t)
{
    return fail(EX_CONFIG, "%s has no key for %s; give a file, or --config",
                t->config == NULL ? "no configuration" : t->config->path, t->domain);
}

static int dns(struct tool *t)
{
    struct dkim_key *k;
    struct stat st;
    char name[600];
    uint32_t at = 0, shown = 0;
    if (t->what == NULL)
        return fail(EX_USAGE, "dns needs what=, a key file or a domain");
    int code = 0;
    if (strchr(t->what, '/') != NULL || stat(t->what, &st) == 0) {
        if ((code = read_key(t->what, &k)) != 0)
            return code;
        code = show_record(t, k, NULL, t->what);
        dkim_key_rele(k);
        return code;
    }
    t->domain = t->what;
    for (const struct config_dkim_key *c; code == 0 && (c = next_key(t, &at)) != NULL; shown++)
        if ((code = read_key(c->file, &k)) == 0) {
            code = show_record(t, k, record_name(c, name), c->file);
            dkim_key_rele(k);
        }
    return code == 0 && shown == 0 ? no_keys(t) : code;
}

/* ---- check --------------------------------------------------------------------------------------------- */

#define SERVER_TEXT_MAX (IP_TEXT_MAX + 8)

/* As libunbound wants it. */
static const char *server_text(const struct sockaddr_storage *server, char out[SERVER_TEXT_MAX])
{
    struct ip_addr a;
    uint16_t port = 0;
    char text[IP_TEXT_MAX];
    if (ip_from_sockaddr((const struct sockaddr *)server, &a, &port) != 0)
        return "";
    snprintf(out, SERVER_TEXT_MAX, "%s@%u", ip_addr_format(&a, text), port);
    return out;
}

static struct ub_ctx *open_resolver(const struct tool *t)
{
    struct ub_ctx *ub = ub_ctx_create();
    char text[SERVER_TEXT_MAX];
    uint32_t n = t->config == NULL ? 0 : t->config->resolver.nservers;
    int err = ub == NULL ? -1 : 0;
    if (err == 0 && n > 0)
        err = ub_ctx_set_option(ub, "do-not-query-localhost:", "no");
    for (uint32_t i = 0; err == 0 && i < n; i++)
        err = ub_ctx_set_fwd(ub, server_text(&t->config->resolver.servers[i], text));
    if (err == 0 && n == 0)
        err = ub_ctx_resolvconf(ub, NULL);
    if (err == 0)
        return ub;
    if (ub != NULL)
        ub_ctx_delete(ub);
    return NULL;
}

/* The strings of a TXT record, one after the other. */
static int text_of(const struct ub_result *r, struct buf *out)
{
    const uint8_t *p = (const uint8_t *)r->data[0];
    size_t left = (size_t)r->len[0];
    while (left > 0) {
        size_t n = *p;
        if (n + 1 > left)
            return ERR_BAD;
        buf_put(out, p + 1, n);
        p += n + 1;
        left -= n + 1;
    }
    return buf_err(out);
}

static void tell(struct tool *t, const char *name, const char *state, const struct dkim_record_info *info,
                 const char *why)
{
    bool known = info != NULL && info->bits > 0;
    bool good = strcmp(state, "matches") == 0 || strcmp(state, "valid") == 0;
    t->bad = t->bad || !good;
    if (t->json != NULL) {
        json_t *j = json_pack("{s:s,s:s,s:b}", "name", name, "state", state, "ok", good);
        if (known)
            json_object_set_new(j, "algorithm", json_string(dkim_algorithm_name(info->algorithm)));
        if (known)
            json_object_set_new(j, "bits", json_integer(info->bits));
        if (info != NULL)
            json_object_set_new(j, "testing", json_boolean(info->testing));
        if (why[0] != '\0')
            json_object_set_new(j, "reason", json_string(why));
        json_array_append_new(t->keys, j);
        return;
    }
    printf("%s: %s", name, state);
    if (known)
        printf(" (%s, %u bits%s)", dkim_algorithm_name(info->algorithm), info->bits,
               info->testing ? ", in test mode: t=y" : "");
    printf("%s%s\n", why[0] != '\0' ? ": " : "", why);
}

static int check_one(struct tool *t, struct ub_ctx *ub, const char *name, const struct dkim_key *k)
{
    struct ub_result *r = NULL;
    struct dkim_record_info info;
    struct buf text;
    int err = ub_resolve(ub, name, TYPE_TXT, CLASS_IN, &r);
    if (err != 0 || (!r->havedata && !r->nxdomain && r->rcode != 0)) {
        tell(t, name, "unknown", NULL, err != 0 ? ub_strerror(err) : "the DNS does not answer for now");
        ub_resolve_free(r);
        return 0;
    }
    buf_init(&text, DKIM_RECORD_MAX);
    int code = 0;
    if (!r->havedata)
        tell(t, name, "missing", NULL, r->nxdomain ? "there is no such name" : "the name has no TXT record");
    else if (r->data[1] != NULL)
        tell(t, name, "broken", NULL,
             "the name has several TXT records; verifiers need not choose the right one");
    else if (text_of(r, &text) != 0)
        tell(t, name, "broken", NULL, "the record is longer than any key's");
    else if (dkim_record_check(buf_span(&text), k, &info) != 0)
        code = fail(EX_OSERR, "out of memory");
    else
        tell(t, name,
             info.state == DKIM_RECORD_GOOD && k == NULL ? "valid" : dkim_record_state_name(info.state),
             &info, info.why);
    buf_fini(&text);
    ub_resolve_free(r);
    return code;
}

static int check_configured(struct tool *t, struct ub_ctx *ub, uint32_t *n)
{
    char name[600];
    uint32_t at = 0;
    int code = 0;
    for (const struct config_dkim_key *c; code == 0 && (c = next_key(t, &at)) != NULL; ++*n) {
        struct dkim_key *k;
        if ((code = read_key(c->file, &k)) == 0) {
            code = check_one(t, ub, record_name(c, name), k);
            dkim_key_rele(k);
        }
    }
    return code;
}

static int check(struct tool *t)
{
    struct dkim_key *k = NULL;
    char name[600];
    uint32_t n = 0;
    if (t->domain == NULL || (t->key != NULL && t->selector == NULL))
        return fail(EX_USAGE, "check needs domain=; key= needs selector= too");
    int code = t->key == NULL ? 0 : read_key(t->key, &k);
    struct ub_ctx *ub = code != 0 ? NULL : open_resolver(t);
    if (code == 0 && ub == NULL)
        code = fail(EX_OSERR, "the resolver cannot start");
    if (code == 0 && t->key == NULL)
        code = check_configured(t, ub, &n);
    if (code == 0 && n == 0 && t->selector != NULL) {
        snprintf(name, sizeof name, "%s._domainkey.%s", t->selector, t->domain);
        code = check_one(t, ub, name, k);
    } else if (code == 0 && n == 0) {
        code = no_keys(t);
    }
    if (ub != NULL)
        ub_ctx_delete(ub);
    dkim_key_rele(k);
    return code == 0 && t->bad ? EXIT_NOT_GOOD : code;
}

/* ---- verbs --------------------------------------------------------------------------------------------- */

static bool read_args(struct tool *t, int argc, char **argv)
{
    const struct {
        const char *name;
        const char **value;
    } known[] = {
        { "domain=", &t->domain }, { "selector=", &t->selector },
        { "type=", &t->type },     { "bits=", &t->bits },
        { "out=", &t->out },       { "what=", &t->what },
        { "key=", &t->key },       { "config=", &t->config_path },
        { "json=", &t->json },
    };
    for (int i = 0; i < argc; i++) {
        size_t k = 0, n = sizeof known / sizeof known[0];
        while (k < n && strncmp(argv[i], known[k].name, strlen(known[k].name)) != 0)
            k++;
        if (k == n)
            return false;
        *known[k].value = argv[i] + strlen(known[k].name);
    }
    return true;
}

int dkim_tool(int argc, char **argv)
{
    static const struct {
        const char *name;
        bool config;
        int (*run)(struct tool *t);
    } verbs[] = { { "generate", false, generate }, { "dns", true, dns }, { "check", true, check } };
    struct tool t = { 0 };
    size_t v = 0, n = sizeof verbs / sizeof verbs[0];
    while (argc > 0 && v < n && strcmp(argv[0], verbs[v].name) != 0)
        v++;
    if (argc == 0 || v == n || !read_args(&t, argc - 1, argv + 1))
        return fail(EX_USAGE, "--dkim is for turnpike dkim; see turnpike(1)");
    if (verbs[v].config && !open_config(&t))
        return EX_CONFIG;
    t.keys = json_array();
    int code = verbs[v].run(&t);
    if (t.json != NULL) {
        json_t *j = json_pack("{s:b,s:O}", "ok", code == 0, "keys", t.keys);
        char *text = json_dumps(j, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
        if (text != NULL)
            puts(text);
        free(text);
        json_decref(j);
    }
    json_decref(t.keys);
    config_rele(t.config);
    return code;
}
