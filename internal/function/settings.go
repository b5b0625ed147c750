package function

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"maps"
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
	"RECOVER_BY_SUPERUSER", "REDIS_TRUSTED_NODES", "RETIRE", "ROTATION_ROLE_ARN", "ROTATION_ROLE_EXTERNAL_ID",
	"STRATEGY",

	"ROTATOR_GENERIC_BYTES", "ROTATOR_GENERIC_ENCODING", "ROTATOR_GENERIC_FIELD", "ROTATOR_GENERIC_KIND",
	"ROTATOR_REDIS_MANAGED",
}

// Settings returns getenv with the settings in ROTATOR_SETTINGS added, each under its own name. A setting is text, a
// number, true or false; a JSON object or array becomes its text. The error has the cause InvalidConfiguration. The
// result may be passed to Settings again.
func Settings(getenv func(string) string) (func(string) string, error) {
	settings, err := parseSettings(getenv(settingsVariable))
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if own := getenv(name); own != "" && settings[name] != "" && own != settings[name] {
			return nil, engine.Errorf(engine.InvalidConfiguration, "set it in one of them only",
				"%s has one value in the variable of that name and another in %s", name, settingsVariable)
		}
	}
	return func(name string) string {
		if name == settingsVariable {
			return ""
		}
		return cmp.Or(settings[name], getenv(name))
	}, nil
}

// parseSettings parses ROTATOR_SETTINGS. Errors show no value, because it may be an external ID.
func parseSettings(text string) (map[string]string, error) {
	settings := make(map[string]string)
	if strings.TrimSpace(text) == "" {
		return settings, nil
	}
	malformed := engine.Errorf(engine.InvalidConfiguration, `write one JSON object, such as {"RETIRE": "now"}`,
		"%s is not a JSON object", settingsVariable)
	d := json.NewDecoder(strings.NewReader(text))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return nil, malformed
	}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, malformed
		}
		name, _ := token.(string)
		if !slices.Contains(settingNames, name) {
			return nil, unknownSetting(name)
		}
		if _, twice := settings[name]; twice {
			return nil, engine.Errorf(engine.InvalidConfiguration, "remove one of the two",
				"%s is in %s twice", name, settingsVariable)
		}
		var value any
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil || json.Unmarshal(raw, &value) != nil {
			return nil, malformed
		}
		switch value := value.(type) {
		case nil:
			return nil, engine.Errorf(engine.InvalidConfiguration, "remove it, or give it a value",
				"%s is null in %s", name, settingsVariable)
		case string:
			settings[name] = value
			if name == "EXCLUDE_CHARACTERS" && value == "" {
				settings[name] = " " // see Getenv
			}
		default:
			settings[name] = string(raw)
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, malformed
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, malformed
	}
	return settings, nil
}

// unknownSetting returns an error for a name that is not a setting. The advice corrects another spelling of a setting,
// such as the name of a tag or parameter.
func unknownSetting(name string) error {
	plain := func(name string) string {
		letters := strings.NewReplacer("_", "", "-", "", ":", "").Replace(strings.ToUpper(name))
		return strings.TrimPrefix(letters, "ROTATOR")
	}
	advice := "write one of " + strings.Join(slices.Sorted(slices.Values(settingNames)), ", ")
	for _, known := range settingNames {
		if plain(known) == plain(name) {
			advice = "write " + known
		}
	}
	return engine.Errorf(engine.InvalidConfiguration, advice, "%s has the unknown setting %q", settingsVariable, name)
}
