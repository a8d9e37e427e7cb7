// Relative to the page, so that it also works behind a prefix of a proxy.
SwaggerUIBundle({ url: "openapi.json", dom_id: "#docs", deepLinking: true, validatorUrl: null });
