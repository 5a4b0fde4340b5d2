/* The command line of turnpike-bench. */
#include "test/bench/opts.h"

#include "base/err.h"
#include "base/text.h"

#include <getopt.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>

const char opts_help[] =
    "turnpike-bench send HOST:PORT [options]     load an SMTP server and measure\n"
    "  --sessions N             connections at a time (50)\n"
    "  --messages N | --seconds S   how much (1000 messages)\n"
    "  --size BYTES             of a message (4096); --incompressible for a random body\n"
    "  --rate R                 open loop: R messages a second whatever the server does;\n"
    "                           latency counts from the moment a message was due\n"
    "  --per-connection N       then QUIT and connect again\n"
    "  --recipients N           per message (1)\n"
    "  --from P, --to P         addresses; {n} message, {r} recipient, {s} session number, {n%50} modulo\n"
    "  --tls starttls|wrapped   --ca FILE verifies the server\n"
    "  --auth USER --password-file F   AUTH PLAIN; USER is a pattern too\n"
    "  --helo NAME, --no-pipelining, --ack-log FILE, --give-up S, --json\n"
    "\n"
    "turnpike-bench idle HOST:PORT [--connections N] [--seconds S]\n"
    "                           hold connections open after EHLO\n"
    "\n"
    "turnpike-bench sink ADDR:PORT [options]     take mail and throw it away\n"
    "  --reply RULE             STAGE[:GLOB][%PERCENT][#FIRST]=REPLY, repeatable, the first match counts:\n"
    "                           'rcpt:*@slow.test=451 4.2.0 later', 'dot%10#100=421 4.3.0 bye', "
    "'data=close'; {n} in REPLY counts\n"
    "                           stages: banner helo starttls auth mail rcpt data dot rset quit\n"
    "  --reply-rcpt REPLY       the same as --reply rcpt=REPLY\n"
    "  --delay STAGE=MS, --delay-ms MS   before a reply; --delay-ms is for the reply to the dot\n"
    "  --per-connection-limit N, --connections N   then 421\n"
    "  --pipelining on|off, --chunking on|off, --smtputf8 on|off, --dsn on|off\n"
    "  --tls CERT,KEY           offer STARTTLS; --wrapped: TLS from the start\n"
    "  --record DIR, --log FILE, --count-to-stdout, --exit-after N\n";

static int bad(const char *option, const char *value)
{
    fprintf(stderr, "turnpike-bench: bad value for --%s: %s\n", option, value == NULL ? "" : value);
    return 2;
}

static int number(const char *option, const char *text, uint64_t min, uint64_t *out)
{
    if (text_u64(span_str(text), out) != 0 || *out < min)
        return bad(option, text);
    return 0;
}

/* "host:port", "[::1]:port" or ":port". The name part is copied to `host` if not NULL. */
static int address(const char *text, struct sockaddr_storage *out, const char **host)
{
    const char *colon = strrchr(text, ':');
    if (colon == NULL)
        return bad("address", text);
    size_t n = (size_t)(colon - text);
    if (n >= 2 && text[0] == '[' && text[n - 1] == ']') {
        text++;
        n -= 2;
    }
    char *name = strndup(n == 0 ? "127.0.0.1" : text, n == 0 ? 9 : n);
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
    struct addrinfo *found;
    int rc = getaddrinfo(name, colon + 1, &hints, &found);
    if (rc != 0) {
        fprintf(stderr, "turnpike-bench: %s: %s\n", name, gai_strerror(rc));
        free(name);
        return 2;
    }
    memcpy(out, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    if (host != NULL)
        *host = name; /* lives as long as the process */
    else
        free(name);
    return 0;
}

static int positional(int argc, char **argv, struct sockaddr_storage *out, const char **host)
{
    if (optind != argc - 1) {
        fprintf(stderr, "turnpike-bench: one ADDRESS:PORT is needed; see turnpike-bench --help\n");
        return 2;
    }
    return address(argv[optind], out, host);
}

static int on_off(const char *option, const char *text, bool *out)
{
    *out = strcmp(text, "on") == 0;
    return *out || strcmp(text, "off") == 0 ? 0 : bad(option, text);
}

static int read_password(const char *path, const char **out)
{
    FILE *f = fopen(path, "r");
    if (f == NULL) {
        perror(path);
        return 2;
    }
    char *line = NULL;
    size_t cap = 0;
    ssize_t n = getline(&line, &cap, f);
    fclose(f);
    if (n <= 0) {
        fprintf(stderr, "turnpike-bench: %s: empty\n", path);
        free(line);
        return 2;
    }
    line[strcspn(line, "\r\n")] = '\0';
    *out = line;
    return 0;
}

enum {
    O_SESSIONS = 256,
    O_MESSAGES,
    O_SECONDS,
    O_SIZE,
    O_RATE,
    O_PER_CONNECTION,
    O_RECIPIENTS,
    O_FROM,
    O_TO,
    O_TLS,
    O_CA,
    O_AUTH,
    O_PASSWORD_FILE,
    O_HELO,
    O_NO_PIPELINING,
    O_ACK_LOG,
    O_GIVE_UP,
    O_JSON,
    O_INCOMPRESSIBLE,
    O_CONNECTIONS,
    O_REPLY,
    O_REPLY_RCPT,
    O_DELAY,
    O_DELAY_MS,
    O_PIPELINING,
    O_CHUNKING,
    O_SMTPUTF8,
    O_DSN,
    O_WRAPPED,
    O_RECORD,
    O_LOG,
    O_COUNT,
    O_EXIT_AFTER,
};

static int send_option(int opt, const char *name, struct send_opts *o)
{
    uint64_t v = 0;
    int rc = 0;
    switch (opt) {
    case O_SESSIONS:
        rc = number(name, optarg, 1, &v);
        o->sessions = (unsigned)v;
        return rc;
    case O_MESSAGES:
        return number(name, optarg, 1, &o->messages);
    case O_SECONDS:
        rc = number(name, optarg, 1, &v);
        o->seconds = (int64_t)v;
        return rc;
    case O_SIZE:
        return text_size_bytes(span_str(optarg), &v) != 0 || (o->size = (size_t)v) < 512 ? bad(name, optarg)
                                                                                         : 0;
    case O_RATE:
        return (o->rate = atof(optarg)) > 0 ? 0 : bad(name, optarg);
    case O_PER_CONNECTION:
        return number(name, optarg, 1, &o->per_connection);
    case O_RECIPIENTS:
        rc = number(name, optarg, 1, &v);
        o->rcpts = (unsigned)v;
        return rc;
    case O_FROM:
        return pattern_init(&o->mail_from, optarg) == 0 ? 0 : bad(name, optarg);
    case O_TO:
        return pattern_init(&o->rcpt_to, optarg) == 0 ? 0 : bad(name, optarg);
    case O_TLS:
        o->tls = strcmp(optarg, "wrapped") == 0 ? BENCH_TLS_WRAPPED : BENCH_TLS_STARTTLS;
        return o->tls == BENCH_TLS_WRAPPED || strcmp(optarg, "starttls") == 0 ? 0 : bad(name, optarg);
    case O_CA:
        o->ca_file = optarg;
        return 0;
    case O_AUTH:
        o->auth = true;
        return pattern_init(&o->auth_user, optarg) == 0 ? 0 : bad(name, optarg);
    case O_PASSWORD_FILE:
        return read_password(optarg, &o->password);
    case O_HELO:
        o->helo = optarg;
        return 0;
    case O_NO_PIPELINING:
        return (int)!(o->no_pipelining = true);
    case O_ACK_LOG:
        o->ack_log = optarg;
        return 0;
    case O_GIVE_UP:
        rc = number(name, optarg, 1, &v);
        o->give_up_ms = (int64_t)v * 1000;
        return rc;
    case O_JSON:
        return (int)!(o->json = true);
    case O_INCOMPRESSIBLE:
        return (int)!(o->incompressible = true);
    default:
        return 2;
    }
}

int opts_send(int argc, char **argv, struct send_opts *o)
{
    static const struct option options[] = {
        { "sessions", 1, NULL, O_SESSIONS },
        { "messages", 1, NULL, O_MESSAGES },
        { "seconds", 1, NULL, O_SECONDS },
        { "size", 1, NULL, O_SIZE },
        { "rate", 1, NULL, O_RATE },
        { "per-connection", 1, NULL, O_PER_CONNECTION },
        { "recipients", 1, NULL, O_RECIPIENTS },
        { "recipients-per-message", 1, NULL, O_RECIPIENTS },
        { "from", 1, NULL, O_FROM },
        { "to", 1, NULL, O_TO },
        { "tls", 1, NULL, O_TLS },
        { "ca", 1, NULL, O_CA },
        { "auth", 1, NULL, O_AUTH },
        { "password-file", 1, NULL, O_PASSWORD_FILE },
        { "helo", 1, NULL, O_HELO },
        { "no-pipelining", 0, NULL, O_NO_PIPELINING },
        { "ack-log", 1, NULL, O_ACK_LOG },
        { "give-up", 1, NULL, O_GIVE_UP },
        { "json", 0, NULL, O_JSON },
        { "incompressible", 0, NULL, O_INCOMPRESSIBLE },
        { NULL, 0, NULL, 0 },
    };
    *o = (struct send_opts){
        .sessions = 50, .size = 4096, .rcpts = 1, .helo = "bench.test", .give_up_ms = 30000
    };
    pattern_init(&o->mail_from, "sender@bench.test");
    pattern_init(&o->rcpt_to, "rcpt{r}@sink.test");
    for (int opt, index = 0; (opt = getopt_long(argc, argv, "", options, &index)) != -1;) {
        int rc = send_option(opt, opt < 256 ? "" : options[index].name, o);
        if (rc != 0)
            return rc;
    }
    if (o->messages == 0 && o->seconds == 0)
        o->messages = 1000;
    if (o->auth && o->password == NULL)
        return bad("auth", "needs --password-file");
    return positional(argc, argv, &o->to, &o->host);
}

int opts_idle(int argc, char **argv, struct idle_opts *o)
{
    static const struct option options[] = {
        { "connections", 1, NULL, O_CONNECTIONS },
        { "seconds", 1, NULL, O_SECONDS },
        { NULL, 0, NULL, 0 },
    };
    *o = (struct idle_opts){ .connections = 1000, .seconds = 10 };
    for (int opt; (opt = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        uint64_t v;
        if (opt != O_CONNECTIONS && opt != O_SECONDS)
            return 2;
        if (number(opt == O_SECONDS ? "seconds" : "connections", optarg, 1, &v) != 0)
            return 2;
        if (opt == O_SECONDS)
            o->seconds = (int64_t)v;
        else
            o->connections = (unsigned)v;
    }
    return positional(argc, argv, &o->to, NULL);
}

static const char *const stage_names[SINK_STAGES] = { "banner", "helo", "starttls", "auth", "mail",
                                                      "rcpt",   "data", "dot",      "rset", "quit" };

const char *sink_stage_name(enum sink_stage stage)
{
    return stage_names[stage];
}

static int stage_of(struct span name, enum sink_stage *out)
{
    for (int i = 0; i < SINK_STAGES; i++)
        if (span_eq(name, span_str(stage_names[i]))) {
            *out = (enum sink_stage)i;
            return 0;
        }
    return ERR_BAD;
}

/* STAGE[:GLOB][%PERCENT][#FIRST]=REPLY; the glob holds none of '=', '%' and '#'. */
static int add_rule(struct sink_opts *o, const char *text)
{
    char *copy = strdup(text); /* lives as long as the process */
    char *reply = copy == NULL ? NULL : strchr(copy, '=');
    if (reply == NULL || o->nrules == SINK_RULES)
        return bad("reply", text);
    *reply++ = '\0';
    struct sink_rule *rule = &o->rules[o->nrules++];
    *rule = (struct sink_rule){ .probability = 1, .reply = reply };
    char *first = strchr(copy, '#');
    char *percent = strchr(copy, '%');
    char *glob = strchr(copy, ':');
    if (first != NULL) {
        *first++ = '\0';
        if (text_u64(span_str(first), &rule->first) != 0 || rule->first == 0)
            return bad("reply", text);
    }
    if (percent != NULL) {
        *percent++ = '\0';
        rule->probability = atof(percent) / 100;
    }
    if (glob != NULL) {
        *glob++ = '\0';
        rule->glob = glob;
    }
    return stage_of(span_str(copy), &rule->stage) == 0 ? 0 : bad("reply", text);
}

static int add_delay(struct sink_opts *o, const char *text)
{
    size_t n = strcspn(text, "=");
    enum sink_stage stage;
    uint64_t ms;
    if (text[n] == '\0' || stage_of(span_of(text, n), &stage) != 0 ||
        text_u64(span_str(text + n + 1), &ms) != 0)
        return bad("delay", text);
    o->delay_ms[stage] = (int64_t)ms;
    return 0;
}

static int sink_option(int opt, const char *name, struct sink_opts *o)
{
    uint64_t v = 0;
    int rc = 0;
    switch (opt) {
    case O_REPLY:
        return add_rule(o, optarg);
    case O_REPLY_RCPT:
        if (o->nrules == SINK_RULES)
            return bad(name, optarg);
        o->rules[o->nrules++] = (struct sink_rule){ .stage = SINK_RCPT, .probability = 1, .reply = optarg };
        return 0;
    case O_DELAY:
        return add_delay(o, optarg);
    case O_DELAY_MS:
        rc = number(name, optarg, 0, &v);
        o->delay_ms[SINK_DOT] = (int64_t)v;
        return rc;
    case O_PER_CONNECTION:
        return number(name, optarg, 1, &o->per_connection);
    case O_CONNECTIONS:
        rc = number(name, optarg, 1, &v);
        o->connections = (unsigned)v;
        return rc;
    case O_PIPELINING:
        return on_off(name, optarg, &o->pipelining);
    case O_CHUNKING:
        return on_off(name, optarg, &o->chunking);
    case O_SMTPUTF8:
        return on_off(name, optarg, &o->smtputf8);
    case O_DSN:
        return on_off(name, optarg, &o->dsn);
    case O_TLS: {
        char *comma = strchr(optarg, ',');
        if (comma == NULL)
            return bad(name, optarg);
        *comma = '\0';
        o->cert = optarg;
        o->key = comma + 1;
        return 0;
    }
    case O_WRAPPED:
        return (int)!(o->wrapped = true);
    case O_RECORD:
        o->record_dir = optarg;
        return 0;
    case O_LOG:
        o->log_file = optarg;
        return 0;
    case O_COUNT:
        return (int)!(o->count_to_stdout = true);
    case O_EXIT_AFTER:
        return number(name, optarg, 1, &o->exit_after);
    default:
        return 2;
    }
}

int opts_sink(int argc, char **argv, struct sink_opts *o)
{
    static const struct option options[] = {
        { "reply", 1, NULL, O_REPLY },
        { "reply-rcpt", 1, NULL, O_REPLY_RCPT },
        { "delay", 1, NULL, O_DELAY },
        { "delay-ms", 1, NULL, O_DELAY_MS },
        { "per-connection-limit", 1, NULL, O_PER_CONNECTION },
        { "connections", 1, NULL, O_CONNECTIONS },
        { "pipelining", 1, NULL, O_PIPELINING },
        { "chunking", 1, NULL, O_CHUNKING },
        { "smtputf8", 1, NULL, O_SMTPUTF8 },
        { "dsn", 1, NULL, O_DSN },
        { "tls", 1, NULL, O_TLS },
        { "wrapped", 0, NULL, O_WRAPPED },
        { "record", 1, NULL, O_RECORD },
        { "log", 1, NULL, O_LOG },
        { "count-to-stdout", 0, NULL, O_COUNT },
        { "exit-after", 1, NULL, O_EXIT_AFTER },
        { NULL, 0, NULL, 0 },
    };
    *o = (struct sink_opts){ .pipelining = true, .chunking = true, .smtputf8 = true };
    for (int opt, index = 0; (opt = getopt_long(argc, argv, "", options, &index)) != -1;) {
        int rc = sink_option(opt, opt < 256 ? "" : options[index].name, o);
        if (rc != 0)
            return rc;
    }
    if (o->wrapped && o->cert == NULL)
        return bad("wrapped", "needs --tls");
    return positional(argc, argv, &o->listen, NULL);
}
