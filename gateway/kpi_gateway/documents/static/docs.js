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

SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  presets: [SwaggerUIBundle.presets.apis],
  plugins: [LocksWhereRequired],
  // The default would send the document's address to a validator on the internet.
  validatorUrl: null,
});
