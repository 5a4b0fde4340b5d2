/* Requests to the admin API. */
#include "cli/client.h"

#include "base/clock.h"
#include "base/text.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONFIG_FILE "/etc/turnpike/node.yaml"
#define RUN_SOCKET "/run/turnpike/admin.sock"
#define STATE_DIR "/var/lib/turnpike"
#define REPLY_MAX (64u << 20)
#define PAGE_MAX 1000
#define CONNECT_S 5L
#define REPLY_S 180L /* a call of the node may take 60 s; the DNS questions of several addresses longer */

struct http {
    CURL *curl;
    struct curl_slist *headers;
    char socket[256];
    char url[512];
    char error[CURL_ERROR_SIZE];
};

/* ---- where the node is --------------------------------------------------------------------------------- */

/* The value of "key: value" at this depth; quotes and comments are taken off. Enough for two plain paths. */
static bool yaml_value(const char *line, const char *key, char *out, size_t cap)
{
    size_t n = strlen(key);
    if (strncmp(line, key, n) != 0 || line[n] != ':')
        return false;
    const char *p = line + n + 1;
    p += strspn(p, " \t");
    char quote = *p == '"' || *p == '\'' ? *p++ : '\0';
    size_t len = quote != '\0' ? strcspn(p, (char[]){ quote, '\n', '\0' }) : strcspn(p, " \t#\r\n");
    if (len == 0 || len >= cap)
        return false;
    memcpy(out, p, len);
    out[len] = '\0';
    return true;
}

void client_default_socket(const char *file, char *out, size_t cap)
{
    char line[1024], socket[256] = "", dir[200] = STATE_DIR;
    FILE *f = fopen(file, "re");
    bool in_admin = false, readable = f != NULL;
    while (readable && fgets(line, sizeof(line), f) != NULL) {
        size_t indent = strspn(line, " ");
        if (indent == 0 && line[0] != '#' && line[0] != '\n')
            in_admin = strncmp(line, "admin:", 6) == 0;
        if (indent == 0)
            yaml_value(line, "data_dir", dir, sizeof(dir));
        else if (in_admin)
            yaml_value(line + indent, "socket", socket, sizeof(socket));
    }
    if (readable)
        fclose(f);
    if (socket[0] != '\0')
        snprintf(out, cap, "%s", socket);
    else if (!readable && access(RUN_SOCKET, F_OK) == 0)
        snprintf(out, cap, "%s", RUN_SOCKET);
    else
        snprintf(out, cap, "%s/admin.sock", dir);
}

static const char *setting(struct cli *c, const char *option, const char *env)
{
    const char *v = cli_opt(c, option);
    if (v == NULL)
        v = getenv(env);
    return v != NULL && v[0] != '\0' ? v : NULL;
}

/* ---- token --------------------------------------------------------------------------------------------- */

static int read_token(struct cli *c, const char *path, struct http *h)
{
    char line[600], header[640];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, line, sizeof(line) - 1) : -1;
    int why = errno;
    if (fd >= 0)
        close(fd);
    if (n < 0)
        return cli_fail(c, CLI_FAILED, "can't read the token file %s: %s", path, strerror(why));
    line[n] = '\0';
    line[strcspn(line, "\r\n")] = '\0';
    snprintf(header, sizeof(header), "Authorization: Bearer %s", line);
    struct curl_slist *list = curl_slist_append(h->headers, header);
    explicit_bzero(line, sizeof(line));
    explicit_bzero(header, sizeof(header));
    if (list == NULL)
        return cli_fail(c, CLI_FAILED, "out of memory");
    h->headers = list;
    return 0;
}

static int open_http(struct cli *c, struct http **out)
{
    struct http *h = c->http;
    if (h == NULL) {
        h = calloc(1, sizeof(*h));
        if (h == NULL || curl_global_init(CURL_GLOBAL_DEFAULT) != 0 || (h->curl = curl_easy_init()) == NULL) {
            free(h);
            return cli_fail(c, CLI_FAILED, "libcurl does not start");
        }
        c->http = h;
        /* An explicit option beats the environment, whatever kind it is of. */
        const char *socket = cli_opt(c, "socket"), *url = cli_opt(c, "url"), *token;
        if (socket != NULL && url != NULL)
            return cli_fail(c, CLI_USAGE,
                            "--socket and --url name different ways to a node: give one of them");
        if (socket == NULL && url == NULL) {
            url = setting(c, "url", "TURNPIKE_URL");
            socket = url == NULL ? setting(c, "socket", "TURNPIKE_SOCKET") : NULL;
        }
        snprintf(h->url, sizeof(h->url), "%s", url != NULL && socket == NULL ? url : "http://localhost");
        while (h->url[0] != '\0' && h->url[strlen(h->url) - 1] == '/')
            h->url[strlen(h->url) - 1] = '\0';
        if (socket != NULL)
            snprintf(h->socket, sizeof(h->socket), "%s", socket);
        else if (url == NULL)
            client_default_socket(CONFIG_FILE, h->socket, sizeof(h->socket));
        token = setting(c, "token-file", "TURNPIKE_TOKEN_FILE");
        if (token != NULL && h->socket[0] == '\0') {
            int code = read_token(c, token, h);
            if (code != 0)
                return code;
        }
    }
    *out = h;
    return 0;
}

void client_fini(struct cli *c)
{
    struct http *h = c->http;
    if (h == NULL)
        return;
    for (struct curl_slist *l = h->headers; l != NULL; l = l->next)
        explicit_bzero(l->data, strlen(l->data));
    curl_slist_free_all(h->headers);
    curl_easy_cleanup(h->curl);
    curl_global_cleanup();
    free(h);
    c->http = NULL;
}

/* ---- targets ------------------------------------------------------------------------------------------- */

void client_query_init(struct client_query *q, const char *path)
{
    buf_init(&q->text, 256 * 1024);
    q->any = false;
    buf_put_str(&q->text, path);
}

void client_query_add(struct client_query *q, const char *name, const char *value)
{
    if (value == NULL)
        return;
    char *escaped = curl_easy_escape(NULL, value, (int)strlen(value));
    buf_printf(&q->text, "%c%s=%s", q->any ? '&' : '?', name, escaped != NULL ? escaped : "");
    curl_free(escaped);
    q->any = true;
}

void client_query_fini(struct client_query *q)
{
    buf_fini(&q->text);
}

/* ---- one exchange -------------------------------------------------------------------------------------- */

struct exchange {
    CURL *curl;
    client_piece_fn *fn;
    void *arg;
    struct buf refused; /* the body of an error reply */
    bool stopped;
};

static size_t on_data(char *p, size_t size, size_t n, void *arg)
{
    struct exchange *x = arg;
    long status = 0;
    curl_easy_getinfo(x->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status >= 400)
        return buf_put(&x->refused, p, size * n) == 0 ? size * n : 0;
    x->stopped = x->fn(x->arg, p, size * n) != 0;
    return x->stopped ? 0 : size * n;
}

static int say_refused(struct cli *c, struct http *h, long status, struct buf *body)
{
    json_t *j = json_loadb(body->len > 0 ? body->data : "", body->len, 0, NULL);
    const json_t *error = json_object_get(j, "error");
    const char *code = cli_str(error, "code"), *message = cli_str(error, "message");
    char text[700];
    const json_t *faults = json_object_get(j, "faults");
    int exit_code = status == 404 && strcmp(code, "not_found") == 0 ? CLI_NOT_FOUND
                    : strcmp(code, "no_majority") == 0              ? CLI_NO_MAJORITY
                                                                    : CLI_FAILED;
    if (status == 401)
        snprintf(text, sizeof(text), "the node refuses the token: give the right one with --token-file");
    else if (message[0] != '\0')
        snprintf(text, sizeof(text), "%s", message);
    else
        snprintf(text, sizeof(text), "%s answers with HTTP status %ld: is that a node's admin API?",
                 h->socket[0] != '\0' ? h->socket : h->url, status);
    cli_fail_as(c, exit_code, code[0] != '\0' ? code : "refused", text);
    for (size_t i = 1; i < json_array_size(faults); i++) /* the first one is the message */
        cli_note("%s", json_string_value(json_array_get(faults, i)));
    json_decref(j);
    return exit_code;
}

static int say_unreachable(struct cli *c, struct http *h, CURLcode code)
{
    long os = 0;
    const char *where = h->socket[0] != '\0' ? h->socket : h->url;
    curl_easy_getinfo(h->curl, CURLINFO_OS_ERRNO, &os);
    struct stat st;
    if (code == CURLE_COULDNT_CONNECT && h->socket[0] != '\0') {
        if (stat(h->socket, &st) != 0)
            os = errno;
        else if (access(h->socket, W_OK) != 0)
            os = EACCES;
    }
    const char *hint = os == ENOENT   ? "is turnpiked running? give --socket or --url if it is elsewhere"
                       : os == EACCES ? "run this as root or as a member of the socket's group"
                                      : "is turnpiked running?";
    const char *why = os != 0 ? strerror((int)os) : h->error[0] != '\0' ? h->error : curl_easy_strerror(code);
    char text[1200];
    snprintf(text, sizeof(text), "can't reach the node at %s: %s; %s", where, why, hint);
    return cli_fail_as(c, CLI_UNREACHABLE, "unreachable", text);
}

static void set_options(struct http *h, const char *url, char *post, struct exchange *x, bool live)
{
    curl_easy_reset(h->curl);
    curl_easy_setopt(h->curl, CURLOPT_URL, url);
    curl_easy_setopt(h->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(h->curl, CURLOPT_PROXY, "");
    curl_easy_setopt(h->curl, CURLOPT_HTTPHEADER, h->headers);
    curl_easy_setopt(h->curl, CURLOPT_ERRORBUFFER, h->error);
    curl_easy_setopt(h->curl, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(h->curl, CURLOPT_WRITEDATA, x);
    curl_easy_setopt(h->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h->curl, CURLOPT_CONNECTTIMEOUT, CONNECT_S);
    if (live) { /* streams send a line every 15 s at least */
        curl_easy_setopt(h->curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
        curl_easy_setopt(h->curl, CURLOPT_LOW_SPEED_TIME, 90L);
    } else {
        curl_easy_setopt(h->curl, CURLOPT_TIMEOUT, REPLY_S);
    }
    if (h->socket[0] != '\0')
        curl_easy_setopt(h->curl, CURLOPT_UNIX_SOCKET_PATH, h->socket);
    if (post != NULL) {
        curl_easy_setopt(h->curl, CURLOPT_POST, 1L);
        curl_easy_setopt(h->curl, CURLOPT_POSTFIELDS, post);
        curl_easy_setopt(h->curl, CURLOPT_POSTFIELDSIZE, (long)strlen(post));
    }
}

static int exchange(struct cli *c, const char *target, const json_t *body, client_piece_fn *fn, void *arg,
                    bool live)
{
    struct http *h = NULL;
    int code = open_http(c, &h);
    if (code != 0)
        return code;
    struct exchange x = { .curl = h->curl, .fn = fn, .arg = arg };
    struct buf url;
    char *post = body != NULL ? json_dumps(body, JSON_COMPACT) : NULL;
    struct curl_slist *plain = h->headers;
    buf_init(&x.refused, 1u << 20);
    buf_init(&url, 512 * 1024);
    buf_printf(&url, "%s%s", h->url, target);
    buf_put_char(&url, '\0');
    if (post != NULL) { /* no Expect: bodies are small */
        h->headers = curl_slist_append(curl_slist_append(NULL, "Content-Type: application/json"), "Expect:");
        for (struct curl_slist *l = plain; l != NULL; l = l->next)
            h->headers = curl_slist_append(h->headers, l->data);
    }
    h->error[0] = '\0';
    set_options(h, url.data, post, &x, live);
    CURLcode result = curl_easy_perform(h->curl);
    long status = 0;
    curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &status);
    if (x.stopped)
        code = 0;
    else if (status >= 400)
        code = say_refused(c, h, status, &x.refused);
    else if (result == CURLE_OK)
        code = 0;
    else if (status == 200)
        code = cli_fail_as(c, CLI_UNREACHABLE, "broken_off",
                           "the node broke off its answer: what came is not all");
    else
        code = say_unreachable(c, h, result);
    if (post != NULL) {
        explicit_bzero(post, strlen(post)); /* may hold a password */
        free(post);
        for (struct curl_slist *l = h->headers; l != NULL; l = l->next)
            explicit_bzero(l->data, strlen(l->data));
        curl_slist_free_all(h->headers);
        h->headers = plain;
    }
    buf_fini(&url);
    buf_fini(&x.refused);
    return code;
}

static int gather(void *arg, const char *p, size_t n)
{
    return buf_put(arg, p, n);
}

int client_json(struct cli *c, const char *target, const json_t *body, json_t **out)
{
    struct buf reply;
    json_error_t why;
    *out = NULL;
    buf_init(&reply, REPLY_MAX);
    int code = exchange(c, target, body, gather, &reply, false);
    c->now_ms = clock_wall_ms(); /* ages in the reply count from now */
    if (code == 0 && buf_err(&reply) != 0)
        code = cli_fail(c, CLI_FAILED, "the node's answer is too long");
    if (code == 0) {
        *out = json_loadb(reply.len > 0 ? reply.data : "", reply.len, 0, &why);
        if (*out == NULL)
            code = cli_fail(c, CLI_FAILED, "the answer is no JSON: is that a node's admin API?");
    }
    buf_fini(&reply);
    return code;
}

int client_stream(struct cli *c, const char *target, const json_t *body, client_piece_fn *fn, void *arg)
{
    return exchange(c, target, body, fn, arg, true);
}

/* ---- pages --------------------------------------------------------------------------------------------- */

/* --limit: 0 is all. */
static int read_limit(struct cli *c, uint64_t *limit)
{
    const char *s = cli_opt(c, "limit");
    *limit = 100;
    if (s != NULL && text_u64(span_str(s), limit) != 0)
        return cli_fail(c, CLI_USAGE, "--limit must be a number");
    if (*limit == 0)
        *limit = UINT64_MAX;
    return 0;
}

int client_get(struct cli *c, struct client_query *q, json_t **out)
{
    buf_put_char(&q->text, '\0');
    int code = client_json(c, q->text.data, NULL, out);
    client_query_fini(q);
    return code;
}

int client_pages(struct cli *c, const struct client_query *base, const char *key, json_t **out)
{
    uint64_t limit, got = 0;
    int code = read_limit(c, &limit);
    const char *after = cli_opt(c, "after");
    json_t *all = NULL;
    while (code == 0 && got < limit) {
        char n[24];
        struct client_query q;
        json_t *page = NULL;
        client_query_init(&q, "");
        buf_put_span(&q.text, buf_span(&base->text));
        q.any = base->any;
        snprintf(n, sizeof(n), "%" PRIu64, limit - got < PAGE_MAX ? limit - got : PAGE_MAX);
        client_query_add(&q, "limit", n);
        client_query_add(&q, "after", after);
        code = client_get(c, &q, &page);
        if (code != 0)
            break;
        json_t *rows = json_object_get(page, key);
        got += json_array_size(rows);
        if (all != NULL) {
            json_array_extend(json_object_get(all, key), rows);
            json_object_set(all, "next", json_object_get(page, "next"));
            json_decref(page);
        } else {
            all = page;
        }
        after = json_string_value(json_object_get(all, "next"));
        if (after == NULL || json_array_size(rows) == 0)
            break;
        if (isatty(STDERR_FILENO) && limit > PAGE_MAX)
            fprintf(stderr, "\r%" PRIu64 " ...", got);
    }
    if (isatty(STDERR_FILENO) && got > PAGE_MAX)
        fprintf(stderr, "\r          \r");
    if (code == 0)
        *out = all;
    else
        json_decref(all);
    return code;
}
