/* 14_messages.c - a conversation as JSON, and a reply that is a call of one of the application's functions.
 *
 * What was said may be kept by the application, in the form that OpenAI's interface has: every turn is given all of it, and only
 * what the session does not have yet is evaluated. A grammar makes even a model that never heard of tools write a call, and
 * REALM_INPUT_PARSE tells what a reply says: its text, its thoughts, its calls.
 */
#include "example.h"

static const char tools[] =
    "[{\"type\": \"function\", \"function\": {\"name\": \"population\", \"parameters\": {\"type\": \"object\","
    " \"properties\": {\"city\": {\"type\": \"string\"}}}}}]";
static const char call[] = "root ::= \"<tool_call>\\n{\\\"name\\\": \\\"population\\\", \\\"arguments\\\": {\\\"city\\\": \\\"\" city "
                           "\"\\\"}}\\n</tool_call>\"\n"
                           "city ::= \"Paris\" | \"Lima\" | \"Oslo\"\n";

int main(int argc, char **argv) {
    const uint32_t model = load_model(argc > 1 ? argv[1] : DEMO_MODEL);
    realm_runtime *runtime = make_runtime(realm_posix_platform());
    realm_session *session = NULL;
    realm_error error = {0, ""};
    uint32_t before = 0, after = 0;
    char text[512];

    must(realm_session_open(runtime, model, NULL, &session, &error), &error);
    turn(session, REALM_INPUT_MESSAGES, "[{\"role\": \"user\", \"content\": \"What is the capital of France?\"}]", text, sizeof text);
    printf("%s\n", text);
    expect(strcmp(text, "The capital of France is Paris.") == 0, "the model answers");

    /* All of it again, and one message more: what is there is not evaluated again. */
    must(realm_session_position(session, &before, &error), &error);
    turn(session, REALM_INPUT_MESSAGES,
         "[{\"role\": \"user\", \"content\": \"What is the capital of France?\"},"
         " {\"role\": \"assistant\", \"content\": \"The capital of France is Paris.\"},"
         " {\"role\": \"user\", \"content\": \"What is the capital of Peru?\"}]",
         text, sizeof text);
    must(realm_session_position(session, &after, &error), &error);
    printf("%s\n", text);
    expect(strcmp(text, "The capital of Peru is Lima.") == 0 && after > before, "the conversation goes on");

    /* A call: the grammar holds for this turn, since it is taken away after it. */
    must(realm_session_set_param(session, "tools", tools, &error), &error);
    must(realm_session_set_param(session, "grammar", call, &error), &error);
    turn(session, REALM_INPUT_CHAT, "How many people live there?", text, sizeof text);
    must(realm_session_set_param(session, "grammar", NULL, &error), &error);
    printf("%s\n", text);
    turn(session, REALM_INPUT_PARSE, "", text, sizeof text);
    printf("%s\n", text);
    expect(strstr(text, "\"tool_calls\"") != NULL && strstr(text, "\"name\": \"population\"") != NULL, "the call is read");

    realm_session_close(session);
    realm_runtime_destroy(runtime);
    must(realm_model_remove(NULL, model, &error), &error);
    return 0;
}
