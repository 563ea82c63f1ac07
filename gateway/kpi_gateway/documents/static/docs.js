// In a file of its own: the page's content security policy allows no inline script.
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  presets: [SwaggerUIBundle.presets.apis],
  // The default would send the document's address to a validator on the internet.
  validatorUrl: null,
});
