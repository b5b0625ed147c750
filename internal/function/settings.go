package function

import (
	"cmp"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
)

// settingsVariable holds any number of settings as one JSON object. A template then needs no parameter for each.
const settingsVariable = "ROTATOR_SETTINGS"

// settingNames lists all settings, each of which is also a separate variable. The first group is from AWS's templates.
var settingNames = []string{
	"EXCLUDE_CHARACTERS", "EXCLUDE_LOWERCASE", "EXCLUDE_NUMBERS", "EXCLUDE_PUNCTUATION", "EXCLUDE_UPPERCASE",
	"PASSWORD_LENGTH", "REQUIRE_EACH_INCLUDED_TYPE", "USERNAME_CHARACTER_LIMIT", "SECRETS_MANAGER_ENDPOINT",
	"SECRET_ARN", "USER_NAME", "MAX_WAITING_TIME_FOR_ACTIVE_IN_SECONDS", "WAITING_RETRY_INTERVAL_IN_SECONDS",
	"DICT_KEY_DIRECTORY", "DICT_KEY_USERNAME", "DICT_KEY_PASSWORD",

	"ADOPT_PAIRS", "ALLOW_PLAINTEXT_FALLBACK", "CA_BUNDLE", "ENGINE", "HTTP_RECIPES", "IAM_BY_ROLE", "METRICS",
	"RECOVER_BY_SUPERUSER", "REDIS_TRUSTED_NODES", "ROTATION_ROLE_ARN", "ROTATION_ROLE_EXTERNAL_ID", "STRATEGY",

	"ROTATOR_GENERIC_BYTES", "ROTATOR_GENERIC_ENCODING", "ROTATOR_GENERIC_FIELD", "ROTATOR_GENERIC_KIND",
}

// Settings returns getenv with the settings in ROTATOR_SETTINGS added, each under its own name. A setting is text, a
// number, true or false; a JSON object or array becomes its text. The error has the cause InvalidConfiguration and
// shows no value, which may be an external ID. The result may be passed to Settings again.
func Settings(getenv func(string) string) (func(string) string, error) {
	v := engine.StringValue(cmp.Or(strings.TrimSpace(getenv(settingsVariable)), "{}"))
	if !v.IsObject() {
		return nil, engine.Errorf(engine.InvalidConfiguration, `write one JSON object, such as {"ENGINE": "postgres"}`,
			"%s cannot be read: %s", settingsVariable, v.Fault())
	}
	settings := make(map[string]string)
	for _, name := range v.Names() {
		value, ok := v.Text(name)
		if !ok {
			value = string(v.JSON(name))
		}
		if name == "EXCLUDE_CHARACTERS" {
			value = cmp.Or(value, " ") // see Getenv
		}
		switch own := getenv(name); {
		case !slices.Contains(settingNames, name):
			return nil, engine.Errorf(engine.InvalidConfiguration,
				"write one of "+strings.Join(slices.Sorted(slices.Values(settingNames)), ", "),
				"%s has the unknown setting %q", settingsVariable, name)
		case value == "null" && !ok:
			return nil, engine.Errorf(engine.InvalidConfiguration, "remove it, or give it a value",
				"%s is null in %s", name, settingsVariable)
		case own != "" && value != "" && own != value:
			return nil, engine.Errorf(engine.InvalidConfiguration, "set it in one of them only",
				"%s has one value in the variable of that name and another in %s", name, settingsVariable)
		}
		settings[name] = value
	}
	return func(name string) string {
		if name == settingsVariable {
			return ""
		}
		return cmp.Or(settings[name], getenv(name))
	}, nil
}
