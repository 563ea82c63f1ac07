// In a file of its own: the page's content security policy allows no inline script.

// A lock is for operations that need a token, not for those that may have one. Calls send it in both cases.
const LocksWhereRequired = () => ({
  wrapComponents: {
    OperationSummary: (Original, system) => (props) => {
      const security = props.operationProps.get("security");
      const isOptional = security && security.some((requirement) => requirement.isEmpty());
      const operationProps = isOptional ? props.operationProps.delete("security") : props.operationProps;
      return system.React.createElement(Original, { ...props, operationProps });
    },
  },
});

// Swagger UI fills a form from the examples of its fields alone, and any other field with the word "string". So the example
// of the whole form is given to its fields, and those that it leaves out stay empty and are not sent.
const FORM = "application/x-www-form-urlencoded";

const resolve = (document, node) =>
  node?.$ref ? node.$ref.split("/").slice(1).reduce((found, key) => found?.[key], document) : node;

const fillForm = (document, body) => {
  const media = resolve(document, body)?.content?.[FORM];
  const schema = resolve(document, media?.schema);
  const whole = media?.example ?? Object.values(media?.examples ?? {})[0]?.value ?? schema?.examples?.[0];
  for (const [name, property] of Object.entries(schema?.properties ?? {})) {
    const own = property.example ?? property.examples?.[0] ?? property.default ?? property.const;
    property.example = (whole ? whole[name] : own) ?? "";
  }
};

const FormsFromExamples = () => ({
  wrapComponents: {
    ParameterIncludeEmpty: (Original, system) => (props) => {
      const isIncludedOptions = { ...props.isIncludedOptions, defaultValue: false };
      return system.React.createElement(Original, { ...props, isIncludedOptions });
    },
  },
  statePlugins: {
    spec: {
      wrapActions: {
        updateJsonSpec: (update) => (document) => {
          for (const item of Object.values(document?.paths ?? {}))
            for (const operation of Object.values(item)) fillForm(document, operation?.requestBody);
          return update(document);
        },
      },
    },
  },
});

SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  presets: [SwaggerUIBundle.presets.apis],
  plugins: [LocksWhereRequired, FormsFromExamples],
  // The default would send the document's address to a validator on the internet.
  validatorUrl: null,
});
